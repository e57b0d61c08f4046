// Package client is the client of a Truechimer appliance: hybrid timestamps, intervals and
// event streams for programs in Go.
package client
