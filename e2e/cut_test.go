//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// cut is how long the link to the metadata service is cut.
const cut = 2 * time.Minute

// checkCut cuts the link in mid-drain.
func checkCut(g *group) {
	g.setUp()
	g.check(fmt.Sprintf("the metadata service is cut off for %v in mid-drain: the drain goes on, and is acked once after", cut), func(c *check) {
		p := g.probe()
		id := g.publish(imds.EventSpec{Type: imds.Terminate, Notice: 2 * cut})
		g.stopping(c)
		g.link(c, "down")
		down := time.Now()
		g.reaches(c, control.StateDrained, 30*time.Second)
		g.sees(c, "blind", 15*time.Second)
		c.stays(time.Until(down.Add(cut)), g.staysDrained)
		require.Empty(c, g.imds.Acks())
		g.link(c, "up")
		c.eventually(20*time.Second, func() error { // the longest time between two tries is ten seconds
			if len(g.imds.Acks()) == 0 {
				return errors.New("no ack has come")
			}
			return nil
		})
		g.sees(c, "ok", 15*time.Second)
		require.NoError(c, g.staysDrained())
		g.returns(c)
		acks := g.imds.Acks()
		require.Len(c, acks, 1)
		require.Equal(c, id, acks[0].EventID)
		require.True(c, acks[0].Accepted)
		result := p.stop()
		require.Zero(c, result.errors+result.cut(), "%v", result)
	})
}

// checkCutAfter cuts the link after the drain, and ends the event meanwhile.
func checkCutAfter(g *group) {
	g.setUp()
	g.check(fmt.Sprintf("the metadata service is cut off for %v of a drained node: it is neither undone before nor acked twice", cut), func(c *check) {
		p := g.probe()
		id := g.drainsFor(c, imds.Terminate)
		acks := len(g.imds.Acks())
		g.link(c, "down")
		down := time.Now()
		require.NoError(c, g.imds.Complete(id)) // unseen
		g.sees(c, "blind", 15*time.Second)
		c.stays(time.Until(down.Add(cut)), g.staysDrained)
		g.link(c, "up")
		g.returns(c)
		require.Len(c, g.imds.Acks(), acks)
		result := p.stop()
		require.Zero(c, result.errors+result.cut(), "%v", result)
	})
}

// staysDrained reports whether the node is drained and its workloads are stopped.
func (n *node) staysDrained() error {
	s, err := n.status()
	if err == nil && s.State != control.StateDrained {
		err = fmt.Errorf("the node is %s (%s)", s.State, s.Reason)
	}
	for _, unit := range workloads {
		err = errors.Join(err, n.inactive(unit))
	}
	return err
}
