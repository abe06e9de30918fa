package report_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

var shots = flag.String("shots", "", "a directory for screenshots of the pages, to be looked at")

// faint lists what can hardly be read: text whose contrast with what is behind it is
// below that of WCAG 2.2, level AA.
const faint = `(() => {
  const parse = c => c.match(/[\d.]+/g).map(Number);
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(ratio.toFixed(2) + ' ' + e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40));
  }
  return [...new Set(found)];
})()`

// lost lists text that cannot be read at all: what is smaller than 11 pixels, and what
// its box cuts off.
const lost = `(() => {
  const found = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e);
    const what = e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40);
    if (parseFloat(style.fontSize) < 11) found.push(style.fontSize + ' ' + what);
    const box = e.getBoundingClientRect();
    if (box.width > 1 && box.right > document.documentElement.clientWidth + 1) found.push('outside ' + what);
    if (box.width > 1 && ['hidden', 'clip'].includes(style.overflowX) && e.scrollWidth > e.clientWidth + 1) found.push('cut ' + what);
  }
  return [...new Set(found)];
})()`

// TestInABrowser opens reports in a real browser: wide and narrow, light and dark.
func TestInABrowser(t *testing.T) {
	path := testkit.Tool(t, "chromium", "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // its sandbox does not work for root
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a busy machine is slow
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()

	var mu sync.Mutex // guards what follows
	var requests, complaints []string
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			requests = append(requests, e.Request.URL)
		case *runtime.EventConsoleAPICalled:
			complaints = append(complaints, "console."+string(e.Type))
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			complaints = append(complaints, e.Entry.Text)
		}
	}))
	call(ctx, t, network.Enable, network.EnableParams{})
	call(ctx, t, log.Enable, cdp.Empty{})
	call(ctx, t, accessibility.Enable, cdp.Empty{})

	pages := map[string]string{"hostile": everywhere(strings.Repeat("<b>W</b>", 12), 0)}
	for _, name := range journals {
		events := journal(t, name)
		pages[name] = page(t, look(t, events), events)
	}
	dir := t.TempDir()
	var opened []string
	for name, text := range pages {
		file := filepath.Join(dir, name+".html")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		opened = append(opened, "file://"+file)
		require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("file://"+file)))
		rows := make(map[int64]int)
		for _, width := range []int64{1200, 400, 320} {
			call(ctx, t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 1000})
			papers := make(map[string]bool)
			for _, scheme := range []string{"light", "dark"} {
				where := fmt.Sprintf("%s-%d-%s", name, width, scheme)
				call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
				require.LessOrEqual(t, evaluate[int64](ctx, t, `document.documentElement.scrollWidth`), width, where)
				require.Empty(t, evaluate[[]string](ctx, t, faint), where)
				require.Empty(t, evaluate[[]string](ctx, t, lost), where)
				papers[evaluate[string](ctx, t, `getComputedStyle(document.body).backgroundColor`)] = true
				shoot(ctx, t, where)
			}
			require.Len(t, papers, 2, "dark is not light")
			rows[width] = told(ctx, t, "row")
		}
		require.Positive(t, rows[1200])
		require.Equal(t, map[int64]int{1200: rows[1200], 400: rows[1200], 320: rows[1200]}, rows, "a table stays one for who hears it: %s", name)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, opened, requests)
	require.Empty(t, complaints)
}

func call[P, R any](ctx context.Context, t *testing.T, cmd cdp.Command[P, R], params P) R {
	t.Helper()
	result, err := chromedp.Call(ctx, cmd, params)
	require.NoError(t, err, cmd.Method)
	return result
}

func evaluate[T any](ctx context.Context, t *testing.T, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err)
	return value
}

// told counts what of a role a screen reader is told of.
func told(ctx context.Context, t *testing.T, role string) int {
	t.Helper()
	n := 0
	for _, node := range call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Role != nil && string(node.Role.Value) == `"`+role+`"` {
			n++
		}
	}
	return n
}

func shoot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	if *shots == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o644))
}
