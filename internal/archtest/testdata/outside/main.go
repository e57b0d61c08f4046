// Command outside is a program of somebody else: it embeds the public packages
// and nothing else of ours. It issues timestamps, durable ones too, and answers
// one NTP request, in the directory that it is given.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/hlc/client/grpctime"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

func main() {
	err := errors.Join(volatile(), durable(os.Args[1]), asked(), carried(), served())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func physical() int64 { return time.Now().UnixNano() }

// volatile issues timestamps without a disk.
func volatile() error {
	clock, err := hlc.New(hlc.Options{Physical: physical, Ceiling: hlc.Max})
	if err != nil {
		return err
	}
	first, err := clock.Now()
	if err != nil {
		return err
	}
	second, err := clock.Observe(first)
	if err != nil {
		return err
	}
	again, err := hlc.Parse(second.String())
	if err != nil {
		return err
	}
	if second <= first || again != second {
		return fmt.Errorf("%v after %v, read back as %v", second, first, again)
	}
	_, err = clock.Observe(hlc.FromUnix(physical() + int64(time.Hour)))
	var lead *hlc.LeadError
	if !errors.As(err, &lead) {
		return fmt.Errorf("a timestamp an hour ahead: %w", err)
	}
	return nil
}

// asked asks an appliance that is not there.
func asked() error {
	c, err := client.New(client.Options{Addresses: []string{"127.0.0.1:1"}, Timeout: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx := client.WithPast(context.Background(), 7)
	if _, err = c.Now(ctx); !errors.Is(err, client.ErrUnreachable) || client.Past(ctx) != 7 {
		return fmt.Errorf("a timestamp of nobody: %w", err)
	}
	return nil
}

// carried takes a timestamp to another process and back.
func carried() error {
	handler := func(w http.ResponseWriter, r *http.Request) { client.Saw(r.Context(), client.Past(r.Context())+1) }
	server := httptest.NewServer(client.Handler(http.HandlerFunc(handler)))
	defer server.Close()
	ctx := client.WithPast(context.Background(), 7)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &client.Transport{}}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if client.Past(ctx) != 8 {
		return fmt.Errorf("7 came back as %d", client.Past(ctx))
	}
	grpc.NewServer(grpc.UnaryInterceptor(grpctime.UnaryServer), grpc.StreamInterceptor(grpctime.StreamServer)).Stop()
	return nil
}

// durable issues timestamps that outlive the process.
func durable(dir string) error {
	ctx := context.Background()
	disk, err := store.Open(dir, store.Options{Node: 7})
	if err != nil {
		return err
	}
	defer disk.Close()
	_, err = store.Open(dir, store.Options{Node: 7})
	if !errors.Is(err, store.ErrRefused) {
		return fmt.Errorf("a directory in use: %w", err)
	}
	issuer, err := store.NewIssuer(disk, store.IssuerOptions{
		Physical: physical,
		Bound:    func() (int64, time.Duration, error) { return physical(), time.Millisecond, nil },
	})
	if err != nil {
		return err
	}
	defer issuer.Close()
	err = issuer.Start()
	if err != nil {
		return err
	}
	first, err := issuer.NowN(ctx, 10)
	if err != nil {
		return err
	}
	commit, err := issuer.Commit(ctx)
	if err != nil {
		return err
	}
	var record store.Ceiling
	record, err = disk.Load()
	if err != nil {
		return err
	}
	if commit < first+10 || record.Ceiling <= commit {
		return fmt.Errorf("%v, then %v, below the ceiling %v", first, commit, record.Ceiling)
	}
	return nil
}

// served answers a client of its own.
func served() error {
	claims := &ntpserver.Claims{Stratum: 3, Precision: ntpserver.MeasurePrecision(physical), RefID: [4]byte{192, 0, 2, 1}, At: physical()}
	server, err := ntpserver.Listen(ntpserver.Options{
		Addrs:   []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Workers: 1,
		Claims:  func() *ntpserver.Claims { return claims },
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(context.Background()) }()
	reply, err := ask(server.Addrs()[0].String())
	if err != nil {
		return err
	}
	err = errors.Join(server.Close(), <-ended)
	if err != nil {
		return err
	}
	if reply[1] != 3 || binary.BigEndian.Uint64(reply[24:]) != 1 || server.Counts().Verdicts[ntpserver.Answered] != 1 {
		return fmt.Errorf("the reply is %x, the counts %+v", reply, server.Counts())
	}
	return nil
}

// ask sends a request of NTP version 4 whose transmit timestamp is 1.
func ask(addr string) ([]byte, error) {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := make([]byte, 48)
	request[0], request[47] = 4<<3|3, 1
	_, err = conn.Write(request)
	if err != nil {
		return nil, err
	}
	err = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if err != nil {
		return nil, err
	}
	reply := make([]byte, 48)
	_, err = conn.Read(reply)
	return reply, err
}
