package main

import (
	"context"
	"fmt"
	"strings"
)

// asTold is the incident as the article tells it.
func (i *incident) asTold(ctx context.Context) (string, error) {
	i.hsm.shut(barred)
	w, err := i.newWorld(ctx, "act1", setting{AutoOS: true, Clock: 60})
	if err != nil {
		return "", err
	}
	defer w.close()
	if err := w.awaitAll(ctx, map[string]int{east + " 1.6.0": 5, west + " 1.6.0": 10}); err != nil {
		return "", err
	}
	if err := i.hsm.refusesStrangers(ctx); err != nil {
		return "", err
	}
	i.Fact("15 agents serve on 1.6.0, 5 in eastus and 10 in westus3: each reaches the HSM, which demands a client certificate")
	i.Note("1.7.0 is baked, and is in eastus only. Its baseline closes the HSM's port.")

	i.Note("$ fleetctl rollout run 1.7.0")
	out, err := w.run(ctx, 5, "rollout", "run", "1.7.0")
	fmt.Println(out)
	if err != nil {
		return "", err
	}
	var history struct {
		Value []struct {
			Properties struct {
				Status struct {
					Code string `json:"code"`
				} `json:"runningStatus"`
				Error struct {
					Code    string `json:"code"`
					Message string `json:"message"`
				} `json:"error"`
				Back struct {
					Successful int `json:"successfullyRolledbackInstanceCount"`
				} `json:"rollbackInfo"`
			} `json:"properties"`
		} `json:"value"`
	}
	if err := w.get(ctx, sets+east+"/osUpgradeHistory", &history); err != nil {
		return "", err
	}
	fmt.Println(history)
	really, err := w.ran(ctx, "1.7.0")
	fmt.Println(really, err, strings.Join(really, ","))
	v, _ := w.version(ctx, "1.7.0")
	fmt.Println(v, v.regions())
	out, err = w.run(ctx, 0, "rollout", "run", "1.7.1")
	fmt.Println(out)
	v, _ = w.version(ctx, "1.7.1")
	fmt.Println(v, v.regions())
	return "", err
}
