// Package nodes answers: what does a member of a simulated scale set really do?
//
// The simulated control plane (package arm) says which machines shall run. This package
// runs them, and reports what becomes of them: a process of fleet-agent with a metadata
// service of its own, or whatever an outside program boots. It also stands in for what
// the platform has on a machine: the Application Health extension, which asks the
// machine for its health, and Run Command.
//
//	arm.Server.Machines ─▶ Run ─▶ one goroutine a machine: start, probe, stop
//	                        │
//	                        ├─▶ its scheduled event, in its metadata service ─▶ ReportAck
//	                        └─▶ its Run Command ─▶ ReportCommand
//
// What shall be is compared with what is, again and again, so that a restart of the
// simulation, or a request that was missed, needs no special case. When Run returns, all
// that it started has ended; when the process is killed, it is killed with it.
package nodes
