//go:build !unix

package netio

// msgTrunc is no flag: a datagram cut short is an error of the receive there.
const msgTrunc = 0
