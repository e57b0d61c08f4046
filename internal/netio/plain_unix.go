//go:build unix

package netio

import "syscall"

// msgTrunc is the flag of a datagram that was cut short.
const msgTrunc = syscall.MSG_TRUNC
