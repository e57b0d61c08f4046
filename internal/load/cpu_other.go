//go:build !unix

package load

import "time"

// cpuTime returns 0: it cannot be had here.
func cpuTime() time.Duration { return 0 }
