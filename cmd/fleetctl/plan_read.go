package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// maxSSHKey bounds the file of a public key.
const maxSSHKey = 16 << 10

// readSSHKeys reads the public keys of administrators, by the name of the scale set, and
// says why it could not: only who makes a set needs its key.
func readSSHKeys(spec *fleet.Spec) (keys map[string]string, unread map[string]error) {
	keys, unread = make(map[string]string), make(map[string]error)
	for name, set := range spec.ScaleSets {
		if set.Manage != fleet.ManageFull || set.Create == nil || set.Create.SSHKey == "" {
			continue
		}
		key, err := readSSHKey(set.Create.SSHKey)
		if err != nil {
			unread[name] = err
			continue
		}
		keys[name] = key
	}
	return keys, unread
}

// readSSHKey reads the file of a public key. What else stands in such a file by mistake is
// not for Azure, and not for an error either.
func readSSHKey(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSSHKey))
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(text))
	kind, rest, _ := strings.Cut(key, " ")
	switch {
	case strings.Contains(key, "PRIVATE KEY"):
		return "", fmt.Errorf("%s is a private key: name the public one, which is beside it with .pub", path)
	case strings.Contains(key, "\n"), rest == "", !strings.HasPrefix(kind, "ssh-") && !strings.HasPrefix(kind, "ecdsa-"):
		return "", fmt.Errorf("%s is not a public key in one line, as ssh-keygen writes it", path)
	}
	return key, nil
}

// noteKeys says of the scale sets that are to be made why their keys were not read.
func (v *planView) noteKeys(unread map[string]error) {
	for i := range v.ScaleSets {
		s := &v.ScaleSets[i]
		err := unread[s.Name]
		if err != nil && slices.ContainsFunc(s.Steps, func(step stepView) bool { return step.Step == fleet.StepCreate }) {
			s.Notes = append(slices.Clip(s.Notes), "create.ssh_key: "+err.Error())
		}
	}
}

// places adds the places of the file that ask for what Azure never changes.
func (d *declaration) places(v *planView) {
	for i := range v.ScaleSets {
		set := &v.ScaleSets[i]
		for j := range set.Steps {
			if step := &set.Steps[j]; step.State == fleet.StepRefused {
				step.Places = d.placesOf(set.ID, step.Properties)
			}
		}
	}
}

func (d *declaration) placesOf(id fleet.ResourceID, properties []fleet.PropertyChange) []fleet.Place {
	var places []fleet.Place
	for _, property := range properties {
		keys := fleet.KeysOf(d.spec, id, property.Path)
		if len(keys) == 0 {
			continue
		}
		i := max(slices.IndexFunc(keys, d.file.Given), 0) // what is not in the file is caused where it would be
		at := d.file.Place(keys[i])
		place := fleet.Place{File: d.file.Path, Line: at.Line, Column: at.Column, Key: keys[i], Do: property.Note}
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	return places
}

const (
	// writersWithin bounds the look into the activity log, and writersSince how far back
	// it goes.
	writersWithin = 20 * time.Second
	writersSince  = 7 * 24 * time.Hour
)

// writers adds who wrote last what has drifted. That it is not known is no error.
func (d *declaration) writers(ctx context.Context, v *planView) {
	drifted := make(map[fleet.ResourceID][]*setView) // by resource group
	for i := range v.ScaleSets {
		if s := &v.ScaleSets[i]; len(s.drifted) > 0 {
			group, _, _ := strings.Cut(fleet.Key(s.ID), "/providers/")
			drifted[fleet.ResourceID(group)] = append(drifted[fleet.ResourceID(group)], s)
		}
	}
	if len(drifted) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writersWithin)
	defer cancel()
	clock, _ := d.g.times(d.client)
	until := clock()
	for _, group := range slices.Sorted(maps.Keys(drifted)) {
		log, err := d.client.Activities(ctx, group.Subscription(), group.ResourceGroup(), until.Add(-writersSince), until)
		if err != nil {
			v.Notes = append(v.Notes, fmt.Sprintf("who changed it is not known: the activity log of %s was not read: %v", group.ResourceGroup(), plainly(err)))
			continue
		}
		for _, s := range drifted[group] {
			for _, id := range s.drifted {
				if w, known := lastWriter(log, id); known {
					s.Writers = append(s.Writers, w)
				}
			}
		}
	}
}

// plainly is an error without the context that ended it.
func plainly(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("it took too long")
	}
	return err
}

// lastWriter finds who wrote a resource last.
func lastWriter(log []azure.Activity, id fleet.ResourceID) (w writerView, known bool) {
	for _, a := range log {
		wrote := strings.HasSuffix(strings.ToLower(a.Operation), "/write") && !strings.EqualFold(a.Status, fleet.Failed)
		if wrote && a.Resource.Same(id) && a.Caller != "" && !a.At.Before(w.At) {
			w, known = writerView{ID: id, Caller: a.Caller, At: a.At}, true
		}
	}
	return w, known
}
