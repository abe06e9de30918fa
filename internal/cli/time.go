package cli

import (
	"fmt"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// Duration formats d for people: its two largest units and nothing below a
// tenth of a second that nobody asked for. It rounds down, so that a countdown
// never promises more than there is: 350ms, 1.2s, 42s, 1m20s, 2h, 3d4h, 120d.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-d)
	}
	switch {
	case d == 0:
		return "0s"
	case d < time.Millisecond:
		return "<1ms"
	case d < time.Second:
		return strconv.Itoa(int(d/time.Millisecond)) + "ms"
	case d < 10*time.Second && d%time.Second >= 100*time.Millisecond:
		return fmt.Sprintf("%d.%ds", d/time.Second, d%time.Second/(100*time.Millisecond))
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < time.Hour:
		return units(d, time.Minute, "m", time.Second, "s")
	case d < day:
		return units(d, time.Hour, "h", time.Minute, "m")
	case d < 100*day:
		return units(d, day, "d", time.Hour, "h")
	}
	return strconv.Itoa(int(d/day)) + "d"
}

// units formats d in two units, the second of which is left out when it is 0.
func units(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	text := strconv.Itoa(int(d/large)) + largeName
	if n := int(d % large / small); n > 0 {
		text += strconv.Itoa(n) + smallName
	}
	return text
}

// Seconds is Duration for the seconds of a JSON document.
func Seconds(s float64) string {
	return Duration(time.Duration(s * float64(time.Second)))
}

// Countdown formats the time that is left, in whole seconds.
func Countdown(left time.Duration) string {
	return Duration(left.Truncate(time.Second))
}

// Relative says where t lies seen from now: "in 23s", "4m10s ago", "now".
func Relative(t, now time.Time) string {
	d := t.Sub(now).Truncate(time.Second)
	switch {
	case d == 0:
		return "now"
	case d > 0:
		return "in " + Duration(d)
	}
	return Duration(-d) + " ago"
}

// Clock formats t as the clock on the wall shows it, in now's time zone: to the
// second today, and with the date, to the minute, on any other day.
func Clock(t, now time.Time) string {
	t = t.In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05 MST")
	}
	if t.Year() == now.Year() {
		return t.Format("Jan 2 15:04 MST")
	}
	return t.Format("2006-01-02 15:04 MST")
}
