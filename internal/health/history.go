package health

// keptResults is how many results of a check are remembered.
const keptResults = 10

// history is a ring of the last results.
type history struct {
	ring [keptResults]Result
	n    int // results ever added
}

func (h *history) add(r Result) {
	h.ring[h.n%keptResults] = r
	h.n++
}

// newest returns the last result, or the zero Result.
func (h *history) newest() Result {
	if h.n == 0 {
		return Result{}
	}
	return h.ring[(h.n-1)%keptResults]
}

// all returns the results, newest first.
func (h *history) all() []Result {
	results := make([]Result, min(h.n, keptResults))
	for i := range results {
		results[i] = h.ring[(h.n-1-i)%keptResults]
	}
	return results
}
