package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// scaleModes are the spellings that Azure takes; "" is none.
var scaleModes = []string{"", "Disabled", "ForecastOnly", "Enabled"}

// predicts says whether predictive autoscale is on, in any spelling.
func (a *Autoscale) predicts() bool {
	return a != nil && (strings.EqualFold(a.Predictive, "ForecastOnly") || strings.EqualFold(a.Predictive, "Enabled"))
}

// The range of the look-ahead of predictive autoscale.
const (
	leastLookAhead = time.Minute
	mostLookAhead  = time.Hour
)

var findPredictive = eachModel(func(m *model) []Finding {
	a := m.autoscale
	if !a.predicts() {
		return nil
	}
	var all []Finding
	lack := func(seen, fix string) { all = append(all, m.say("autoscale.predictive", seen, fix)) }
	cpu := slices.ContainsFunc(a.Rules, func(r ScaleRule) bool {
		return r.Out && strings.EqualFold(r.Metric, "Percentage CPU") && (r.Aggregation == "" || strings.EqualFold(r.Aggregation, "Average"))
	})
	if !cpu {
		lack("predictive autoscale is "+a.Predictive+", and no rule scales out by the average of Percentage CPU", "add a rule on Percentage CPU, Average")
	}
	if !slices.ContainsFunc(a.Rules, func(r ScaleRule) bool { return !r.Out }) {
		lack("predictive autoscale is "+a.Predictive+", and no rule scales in", "add a rule that scales "+m.set.name+" in")
	}
	if a.LookAhead != 0 && (a.LookAhead < leastLookAhead || a.LookAhead > mostLookAhead) {
		lack("scaleLookAheadTime is "+minutes(a.LookAhead), "set it to PT1M to PT60M")
	}
	if region := NormalLocation(m.Location); strings.HasPrefix(region, "usgov") || strings.HasPrefix(region, "usdod") {
		lack("predictive autoscale is "+a.Predictive+" in "+region, "turn predictive autoscale off: Azure Government does not have it")
	}
	return all
})

var findScaleMode = eachModel(func(m *model) []Finding {
	if m.autoscale == nil || slices.Contains(scaleModes, m.autoscale.Predictive) {
		return nil
	}
	return one(m.say("autoscale.predictive.mode", fmt.Sprintf("scaleMode is %q", m.autoscale.Predictive), "write Disabled, ForecastOnly or Enabled, exactly so"))
})
