// Package aib answers: are the scripts and templates of an image build fit to be
// handed to Azure Image Builder and Packer?
//
// It has tests only. They judge what is in the folder aib: each script by its
// arguments, its messages and what two runs leave in a tree that stands for a
// machine, and the template by Azure's own description of the resource. The same
// scripts run for real, under Packer on a machine with systemd, in the end-to-end
// tests.
package aib
