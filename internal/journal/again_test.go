package journal

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadsAgain: whoever reads a journal again and again reads what was added, and of
// the rest its last line. What they were given does not change.
func TestReadsAgain(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		writer, _ := s.open()
		l := taken(t, writer, "7", "ada")
		for n := range 200 {
			appended(t, l, fmt.Sprintf(`{"n":%d,"text":"of some length, so that the whole is long"}`, n))
		}
		p, wire := s.open()
		j := journalOf(t, p, "7")
		first, err := j.Entries(t.Context())
		require.NoError(t, err)
		require.Len(t, first, 200)
		size := j.known.end.size
		require.Greater(t, size, int64(10_000))
		read := func(want int) int {
			before := 0
			if wire != nil {
				wire.setFate(nil)
				before = wire.bytes
			}
			all, err := j.Entries(t.Context())
			require.NoError(t, err)
			require.Len(t, all, want)
			require.Equal(t, first, all[:len(first)])
			if wire == nil {
				return 0
			}
			require.Equal(t, 1, wire.count())
			return wire.bytes - before
		}
		require.LessOrEqual(t, read(200), 200, "nothing was added")
		appended(t, l, `{"n":200}`)
		require.LessOrEqual(t, read(201), 400, "a line was added")
		require.LessOrEqual(t, read(201), 200)
		require.Len(t, first, 200)
		require.Equal(t, texts(t, j), s.entries(t, "7"), "it is what somebody sees who has just come")
	})
}

// TestReadsAnother: a journal that was put in the place of another is read from its
// beginning, whether it is shorter or longer; one that is gone has no entries.
func TestReadsAnother(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		fill := func(n int, who string) {
			p, _ := s.open()
			l := taken(t, p, "7", who)
			for range n {
				appended(t, l, `{"by":"`+who+`"}`)
			}
			require.NoError(t, l.Release(t.Context()))
		}
		p, _ := s.open()
		j := journalOf(t, p, "7")
		gone := func() {
			switch at := j.store.(type) {
			case *files:
				require.NoError(t, os.Remove(at.name()))
			case *blobStore:
				require.NoError(t, at.client.DeleteBlob(t.Context(), at.name()))
			}
		}
		fill(20, "ada")
		require.Len(t, texts(t, j), 20)
		gone()
		require.Empty(t, texts(t, j))
		for _, n := range []int{10, 5, 5, 40} {
			fill(n, "bob")
			require.Len(t, texts(t, j), n)
			require.JSONEq(t, `{"by":"bob"}`, texts(t, j)[n-1])
			gone()
			fill(n+1, "eve") // before anybody has looked
			require.Len(t, texts(t, j), n+1)
			require.JSONEq(t, `{"by":"eve"}`, texts(t, j)[0])
			gone()
		}
	})
}

// TestReadsDamageAgain: what is wrong with a line is said with its number, however much
// of the journal was read before it, and again and again.
func TestReadsDamageAgain(t *testing.T) {
	s := directorySite(t)
	writer, _ := s.open()
	l := taken(t, writer, "7", "ada")
	appended(t, l, `1`, `2`)
	p, _ := s.open()
	j := journalOf(t, p, "7")
	require.Len(t, texts(t, j), 2)
	name := j.store.name()
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, append(whole, "what is this\n"...), 0o600))
	for range 2 {
		_, err := j.Entries(t.Context())
		require.ErrorContains(t, err, name+":4: the line is damaged")
	}
	require.NoError(t, os.WriteFile(name, whole, 0o600))
	require.Equal(t, []string{"1", "2"}, texts(t, j))
}
