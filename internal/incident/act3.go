package main

import "context"

func (i *incident) noise(context.Context) (string, error) { return "", nil }
