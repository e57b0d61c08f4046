package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	api "github.com/truechimer/truechimer/hlc/client"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

const (
	defaultAPI  = "127.0.0.1:8123"
	callTimeout = 15 * time.Second // longer than the longest wait of the server
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// terminal reports whether a person looks at the output.
func (s streams) terminal() bool {
	f, ok := s.out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// widthUsual is for a terminal that does not say how wide it is.
const widthUsual = 80

// width is where lines are broken on a terminal; 0, nowhere, on anything else.
func (s streams) width() int {
	if !s.terminal() {
		return 0
	}
	if n := columns(s.out.(*os.File)); n > 0 {
		return n
	}
	return widthUsual
}

// coloured reports whether colours are wanted.
func (s streams) coloured() bool { return s.terminal() && os.Getenv("NO_COLOR") == "" }

// client is what the commands share that ask a server.
type client struct {
	streams
	address string
	json    bool
	credential

	making sync.Once
	made   http.RoundTripper // see transport
}

// transport returns what requests go by, the same for all.
func (c *client) transport() http.RoundTripper {
	c.making.Do(func() { c.made = c.newTransport() })
	return c.made
}

func (c *client) url() string {
	if strings.Contains(c.address, "://") {
		return c.address
	}
	return "http://" + c.address
}

// web returns what calls go by, which gives up after limit; 0: never. It follows nobody elsewhere:
// a token is for the server that was named.
func (c *client) web(limit time.Duration) *http.Client {
	return &http.Client{
		Transport:     c.transport(),
		Timeout:       limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *client) clock() rpcconnect.ClockServiceClient {
	return rpcconnect.NewClockServiceClient(c.web(callTimeout), c.url())
}

func (c *client) node() rpcconnect.NodeServiceClient {
	return rpcconnect.NewNodeServiceClient(c.web(callTimeout), c.url())
}

// options are what the client of programs needs to ask the same server.
func (c *client) options() (api.Options, error) {
	token, secrets, err := c.show(c.url())
	return api.Options{Addresses: []string{c.address}, Token: token, TLS: secrets}, err
}

// nodeWithoutLimit is node for what takes as long as it takes.
func (c *client) nodeWithoutLimit() rpcconnect.NodeServiceClient {
	return rpcconnect.NewNodeServiceClient(c.web(0), c.url())
}

// stream has no limit of time: a watch lasts, and reads follow one another. Each call that
// is to end has a limit of its own, see call.
func (c *client) stream() rpcconnect.StreamServiceClient {
	return rpcconnect.NewStreamServiceClient(c.web(0), c.url())
}

// call makes a call that is to end soon. Its errors have an exit code.
func call[Q, A any](ctx context.Context, c *client, method func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), request *Q) (*A, error) {
	return callWithin(ctx, c, callTimeout, method, request)
}

// callWithin is call for one that may take longer.
func callWithin[Q, A any](ctx context.Context, c *client, limit time.Duration, method func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), request *Q) (*A, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := method(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, c.failure(err)
	}
	return answer.Msg, nil
}

// checkAddress fails on an --api that is no address.
func (c *client) checkAddress() error {
	u, err := url.Parse(c.url())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usage(fmt.Errorf("--api is %q; want HOST:PORT, such as %s, or https://HOST:PORT where the server has TLS", c.address, defaultAPI))
	}
	return nil
}

// failure gives an error of a call its exit code, and says what to do about it.
func (c *client) failure(err error) error {
	const advice = "is truechimer serve running, and is --api right?"
	var own exitError
	if errors.As(err, &own) { // it was not even asked
		return own
	}
	if wrong := c.tlsFailure(err); wrong != nil {
		return wrong
	}
	if unreachable(err) {
		var dial *net.OpError
		errors.As(err, &dial)
		return exitError{exitUnreachable, fmt.Errorf("cannot reach a server at %s: %w; %s", c.address, dial.Err, advice)}
	}
	var call *connect.Error
	switch {
	case !errors.As(err, &call):
		return err
	case connect.IsWireError(err) && call.Code() == connect.CodeInvalidArgument:
		return usage(errors.New(call.Message()))
	case connect.IsWireError(err) && call.Code() == connect.CodeUnauthenticated:
		return errors.New(c.unknown())
	case connect.IsWireError(err) && call.Code() == connect.CodePermissionDenied:
		return fmt.Errorf("not allowed: %s", call.Message())
	case connect.IsWireError(err):
		return errors.New(call.Message())
	case call.Code() == connect.CodeCanceled:
		return errors.New("interrupted")
	case call.Code() == connect.CodeUnavailable:
		return exitError{exitUnreachable, fmt.Errorf("the server at %s went away: %s; look at its log", c.address, call.Message())}
	case call.Code() == connect.CodeDeadlineExceeded:
		return exitError{exitUnreachable, fmt.Errorf("the server at %s takes the call and does not answer: it may still be opening its data directory; look at its log", c.address)}
	default:
		return exitError{exitUnreachable, fmt.Errorf("what answers at %s is not truechimer: %s; %s", c.address, call.Message(), advice)}
	}
}

// unreachable reports whether a call found no server, and so had no effect.
func unreachable(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// printJSON prints a message as the API would have.
func (c *client) printJSON(m proto.Message) error { return writeJSON(c.out, m) }

// writeJSON writes a message as the API has it, on a line.
func writeJSON(out io.Writer, m proto.Message) error {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", b)
	return err
}

// printValue prints a value as one line of JSON.
func (c *client) printValue(v any) error { return json.NewEncoder(c.out).Encode(v) }
