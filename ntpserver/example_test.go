package ntpserver_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/beevik/ntp"

	"github.com/truechimer/truechimer/ntpserver"
)

// Example serves the clock of the host, with what its owner claims about it.
func Example() {
	var claims atomic.Pointer[ntpserver.Claims]
	now := time.Now().UnixNano()
	claims.Store(&ntpserver.Claims{
		Stratum:        1,
		RefID:          [4]byte{'P', 'P', 'S'},
		Precision:      ntpserver.MeasurePrecision(func() int64 { return time.Now().UnixNano() }),
		RootDispersion: 50 * time.Microsecond, // the error at this moment
		At:             now,
		Reference:      now,
	})

	server, err := ntpserver.Listen(ntpserver.Options{
		Addrs:  []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, // 123, where clients look
		Claims: claims.Load,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error)
	go func() { served <- server.Serve(ctx) }()

	reply, err := ntp.Query(server.Addrs()[0].String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stratum", reply.Stratum, reply.ReferenceString(), reply.Validate() == nil)

	cancel()
	fmt.Println(<-served, server.Counts().Verdicts[ntpserver.Answered])
	// Output:
	// stratum 1 .PPS. true
	// <nil> 1
}
