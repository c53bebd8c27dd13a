package main

import "syscall"

// childAttributes keep a Ctrl-C away from a child, which the benchmark ends
// itself, and end it when the benchmark dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
