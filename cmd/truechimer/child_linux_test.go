package main

import "syscall"

// dieWithUs has the kernel kill a child when this process ends, however it ends.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
