// Package api answers the RPC services, the health endpoints and the metrics on one
// port: gRPC, Connect, and plain JSON over HTTP. Its handlers only translate.
//
// Who may call what is decided before a request is read (see gate). Hazard: where callers
// without a credential have rights, and there is no TLS, a web page in a browser that can
// reach the listener is such a caller: the handler then refuses requests whose Host is a
// name that a foreign web page could have brought along.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

// Issuer issues timestamps; *store.Issuer is one.
type Issuer interface {
	NowN(ctx context.Context, n int) (hlc.Timestamp, error)
	NowAfter(ctx context.Context, r hlc.Timestamp, n int) (hlc.Timestamp, error)
	Observe(ctx context.Context, remote hlc.Timestamp) (hlc.Timestamp, error)
	Interval(ctx context.Context) (hlc.Interval, error)
	Wait(ctx context.Context, ts hlc.Timestamp) (hlc.Interval, error)
	Commit(ctx context.Context) (hlc.Timestamp, error)
}

// Node is what the services tell of this node and can ask of it. All its methods may be
// called concurrently. Who makes a decision is the name of a principal; empty: nobody in particular.
type Node interface {
	State() State
	// Clients returns all that the NTP server remembers of its clients, the one heard last
	// first.
	Clients() []ntpserver.Client
	// AcceptClock takes the clock jump that is held, and returns it. It fails with
	// ErrNothingHeld when there is none, and with ErrOtherJump when it differs from jump by
	// more than a second.
	AcceptClock(who string, jump time.Duration) (taken time.Duration, err error)
	// MakeStep steps the clock to what the sources say, and returns by how much. It fails with
	// ErrNotSteering where this node steers no clock, with ErrNoEstimate where the sources say
	// nothing, and with ErrOtherOffset when what is left to correct differs from offset by more
	// than 100 ms.
	MakeStep(who string, offset time.Duration) (taken time.Duration, err error)
	// Rebase ends the given epoch and brings the hybrid clock back to the time.
	Rebase(ctx context.Context, who string, epoch uint64) (Rebased, error)
	// Backup backs the store up, as store.Backup does.
	Backup(ctx context.Context, dir string, progress func(store.Progress)) (store.BackupResult, error)
}

var (
	// ErrNoInterval is what the Issuer returns while no error bound can be claimed.
	ErrNoInterval = errors.New("no interval can be given")
	// ErrNothingHeld reports that no clock jump waits for a decision.
	ErrNothingHeld = errors.New("no clock jump is being held: there is nothing to accept")
	// ErrOtherJump reports that the clock jump that is held is not the one that was meant.
	ErrOtherJump = errors.New("another clock jump is held now than the one that was meant; look at status again")
	// ErrNotSteering reports that somebody else steers the clock.
	ErrNotSteering = errors.New("this node steers no clock: clock.mode is follow; step it with what steers it, or set clock.mode to steer")
	// ErrNoEstimate reports that no source says what the time is.
	ErrNoEstimate = errors.New("the sources do not say what the time is: there is nothing to step to; see truechimer sources")
	// ErrOtherOffset reports that the offset is not the one that was meant.
	ErrOtherOffset = errors.New("another offset is left to correct now than the one that was meant; look at status again")
	// ErrNotAhead reports that the hybrid clock has no lead that a rebase would remove.
	ErrNotAhead = errors.New("the hybrid clock is not ahead of its time by more than the max lead: there is nothing to bring back")
)

// State is one consistent picture of the node.
type State struct {
	Name    string
	Number  uint16
	Version string
	StoreID string
	Started time.Time

	Clock *clock.Snapshot
	Mono  time.Duration // now, on the clock of the snapshot
	// NoClaim says why no error bound is claimed; empty when one is.
	NoClaim string
	// ErrorLimit is the error bound above which none is claimed; 0: unknown.
	ErrorLimit time.Duration
	Holdover   time.Time // since when the clock is in holdover; zero: it is not
	SkewPPM    float64   // standard deviation of the frequency; negative: not measured
	SlewPPM    float64   // at which an offset is removed now; positive: the clock is driven forward
	// Behind is what is left to correct of a clock that this node steers, positive when it is
	// behind, even while it is so much that nothing can be claimed.
	Behind time.Duration
	// Left is how long the error bound stays within ErrorLimit if nothing more is heard; 0: by
	// the growth of the bound, as it is now.
	Left  time.Duration
	Rival string // why somebody else seems to steer the same clock; empty: nobody does
	Drift Drift
	Leap  LeapSeconds
	// Sources are in the order of the configuration.
	Sources []Source

	Issuer        store.Status
	HeldJump      time.Duration // the clock jump that is held; 0 when none is
	PhysicalAhead time.Duration // of the hybrid clock's physical time ahead of the time served
	Fenced        error         // why the store is fenced, or nil
	Streams       store.StreamsStatus

	NTPListen        []string
	NTPVerdicts      map[string]uint64
	NTPUnstamped     uint64 // requests that came without the kernel's receive timestamp
	NTPSendErrors    uint64
	NTPReceiveErrors uint64
	NTPKernelDrops   uint64 // datagrams that the kernel dropped before they were read
	NTPStamps        uint64 // transmit timestamps that the kernel gave, for interleaved mode
	NTPStampsMissed  uint64 // those that it did not give in time

	Unhealthy []string // what a restart might mend, one sentence each
	NotReady  []string // why it is not ready
	Alarms    []Alarm
}

// Drift is what the drift file holds. The zero Drift is none.
type Drift struct {
	FrequencyPPM, SkewPPM float64
	Saved                 time.Time
}

// LeapSeconds is what is known of leap seconds. The zero LeapSeconds is nothing.
type LeapSeconds struct {
	Known     bool
	TAIOffset int        // TAI minus UTC now, seconds; valid when Known
	Next      int64      // the second after the next leap second, Unix nanoseconds; 0: none is announced
	NextKind  clock.Leap // what happens then; LeapNone when none is announced
	Expires   int64      // until when they are known, Unix nanoseconds; 0: they are not
	Origin    string     // a file, the time zone data, or the sources
	Warning   string     // what an operator should do about it; empty: nothing
}

// issuing reports whether timestamps are issued.
func (s *State) issuing() bool {
	return s.Issuer.Started && s.Issuer.Err == nil && s.Fenced == nil
}

// Alarm is something that an operator should know.
type Alarm struct {
	Name     string
	Labels   map[string]string // what it is about besides; nobody writes to it
	Critical bool              // whether somebody should be woken up for it
	Sentence string
	Since    time.Time
}

// Rebased tells what a rebase did.
type Rebased struct {
	Epoch uint64
	Last  hlc.Timestamp // of the epoch that was ended
	Back  time.Duration
}

// Services are what a Server answers from.
type Services struct {
	Issuer  Issuer
	Node    Node
	Streams Streams
	// Evidence proves how far the clocks were from UTC.
	Evidence Evidence
	// Timescale names what timestamps and intervals are measured on; empty: UTC.
	Timescale string
	// Web is the dashboard, for GET and HEAD of "/" and what is below "/ui/"; nil: there is none.
	// What is below web.AssetsPath is open to everybody, the rest to who may read.
	Web http.Handler
}

const (
	requestLenMax = 64 << 10 // bytes; most requests are a few dozen
	// namesLenMax and appendLenMax are for the requests that can be larger, in JSON: names are
	// in quotes, payloads are base64, and an entry has its fields besides.
	namesLenMax  = requestLenMax + store.NamesMax*(store.NameLenMax+len(`"",`))
	appendLenMax = requestLenMax + store.BatchLenMax*4/3 + store.BatchEventsMax*(store.NameLenMax+len(`{"stream":"","payload":"====","expected":"18446744073709551615"},`))

	headerLenMax      = 16 << 10
	headerTimeout     = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	compressLenMin    = 1024 // smaller replies cost more to compress than to send
	callsMax          = 4096 // in progress, of all connections, besides sessions and watches
	sessionsMax       = 1024
	connectionsMax    = callsMax + sessionsMax + store.WatchersMax // of all listeners
	streamsMax        = 256                                        // of one connection
	stopTimeout       = 2 * time.Second
	metricsInFlight   = 4
	metricsTimeout    = 5 * time.Second
	unresponsiveAfter = 30 * time.Second // a peer that does not read is dropped
	callMax           = time.Minute      // request, answer and all; the longest Wait takes half of it
)

// The answers to a call too many.
var (
	errFull     = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d calls are in progress, and no more are taken; ask again in a moment, with fewer at a time", callsMax))
	errSessions = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d sessions are in progress, and no more are taken; share one among more callers", sessionsMax))
	errWatches  = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d watches are in progress, and no more are taken; end some, or watch more streams with one", store.WatchersMax))
	errBackup   = connect.NewError(connect.CodeResourceExhausted, errors.New("a backup is being made already; ask again once it is complete"))
)

// Options of a Server.
type Options struct {
	Addrs []netip.AddrPort
	TLS   TLSFiles
	// Access says who may call what; see Server.SetAccess.
	Access Access
	// AccessLog is the path of the file that refused calls are appended to; empty: Logger.
	AccessLog string
	Logger    *slog.Logger
}

// Server serves the API on its listeners.
type Server struct {
	listeners []net.Listener
	all       *connections
	secrets   *secrets // nil: there is no TLS
	gate      *gate
	log       *slog.Logger
	issued    atomic.Uint64
}

// Listen binds the addresses and reads the TLS files. It fails with a sentence that names the
// address or the key, and what to do.
func Listen(o Options) (*Server, error) {
	s := &Server{log: o.Logger, all: newConnections(connectionsMax)}
	if o.TLS != (TLSFiles{}) {
		var err error
		if s.secrets, err = openSecrets(o.TLS, o.Logger); err != nil {
			return nil, err
		}
	}
	journal, err := newJournal(o.AccessLog, o.Logger)
	if err != nil {
		return nil, err
	}
	if s.gate, err = newGate(o.Access, journal); err != nil {
		journal.close()
		return nil, err
	}
	if s.secrets != nil {
		s.gate.trusted = s.secrets.trusted
	}
	for _, addr := range o.Addrs {
		l, err := net.Listen("tcp", addr.String())
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("listen for the API on tcp %v: %w; is another truechimer running? Stop it, or set api.listen to a free address", addr, err)
		}
		s.listeners = append(s.listeners, newLimited(l, s.all))
	}
	return s, nil
}

// SetAccess replaces who may call what. Watches, sessions and backups of those who may no
// longer make them end. It fails, and changes nothing, where two principals could not be told
// apart.
func (s *Server) SetAccess(a Access) error { return s.gate.set(a) }

// ReopenLog has the access log opened again: it may have been moved away.
func (s *Server) ReopenLog() { s.gate.journal.again() }

// Issued returns how many timestamps callers were given since the start, those of appends apart.
func (s *Server) Issued() uint64 { return s.issued.Load() }

// Addrs returns the addresses that are bound.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, l := range s.listeners {
		addrs = append(addrs, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return addrs
}

// Serve answers until ctx ends; calls in progress then have a moment to finish.
func (s *Server) Serve(ctx context.Context, services Services) error {
	server := http.Server{
		Handler:           s.handler(ctx, services),
		ConnState:         s.all.state,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       callMax,
		WriteTimeout:      callMax,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerLenMax,
		ErrorLog:          log.New(&errorLines{s.gate.journal, s.log}, "", 0),
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsMax, SendPingTimeout: unresponsiveAfter, WriteByteTimeout: unresponsiveAfter},
	}
	server.Protocols.SetHTTP1(true)
	serve := server.Serve
	if s.secrets != nil {
		server.TLSConfig = s.secrets.config()
		server.Protocols.SetHTTP2(true)
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	} else {
		server.Protocols.SetUnencryptedHTTP2(true)
	}
	var writing, serving sync.WaitGroup
	writeCtx, stopWriting := context.WithCancel(context.Background())
	writing.Go(func() { s.gate.journal.run(writeCtx) })
	failed := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		serving.Go(func() {
			if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve the API on %v: %w", l.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if server.Shutdown(stop) != nil {
		server.Close() // somebody would not finish
	}
	serving.Wait()
	stopWriting()
	writing.Wait()
	s.gate.journal.close()
	return err
}

// handler is what the server answers with.
func (s *Server) handler(stopping context.Context, services Services) http.Handler {
	services.Issuer = countingIssuer{services.Issuer, &s.issued}
	return s.guardHost(newHandler(stopping, services, callsMax, s.gate, s.log))
}

// Close releases the listeners; Serve does so by itself.
func (s *Server) Close() error {
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.gate.journal.close()
	return errors.Join(errs...)
}

// newHandler serves at most so many calls at a time, of those whom the gate lets in; health and
// metrics are not calls. When stopping ends, answers without an end do.
func newHandler(stopping context.Context, s Services, calls int, gate *gate, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(requestLenMax),
		connect.WithCompressMinBytes(compressLenMin),
		connect.WithConditionalHandlerOptions(optionsOf),
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			log.Error("call panicked", "call", spec.Procedure, "err", p)
			return connect.NewError(connect.CodeInternal, errors.New("the call failed inside the server; its log has the cause"))
		}),
	}
	limits := newLimits(calls, connect.NewErrorWriter(options...))
	timescale := timescaleOf(s)
	mount := func(file protoreflect.FileDescriptor) func(path string, service http.Handler) {
		return func(path string, service http.Handler) {
			mux.Handle(path, guardCall(knownCalls(gate.guard(limits.apply(service), limits.refusals), file, limits.refusals)))
		}
	}
	mount(rpc.File_truechimer_v1_clock_proto)(rpcconnect.NewClockServiceHandler(&clockService{s.Issuer, timescale, stopping}, options...))
	mount(rpc.File_truechimer_v1_node_proto)(rpcconnect.NewNodeServiceHandler(newNodeService(stopping, s.Node, timescale), options...))
	mount(rpc.File_truechimer_v1_stream_proto)(rpcconnect.NewStreamServiceHandler(&streamService{s.Streams, stopping}, options...))
	mount(rpc.File_truechimer_v1_evidence_proto)(rpcconnect.NewEvidenceServiceHandler(&evidenceService{s.Evidence, stopping}, options...))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { report(w, nil) })
	health := func(reasons func(State) []string) http.Handler {
		return gate.guardPlain(func(t *table) bool { return t.healthOpen }, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			report(w, reasons(s.Node.State()))
		}))
	}
	mux.Handle("GET /healthz", health(func(s State) []string { return s.Unhealthy }))
	mux.Handle("GET /readyz", health(func(s State) []string { return s.NotReady }))
	mux.Handle("GET /metrics", gate.guardPlain(func(t *table) bool { return t.metricsOpen }, promhttp.HandlerFor(newRegistry(s.Node, s.Evidence, gate.journal), promhttp.HandlerOpts{
		MaxRequestsInFlight: metricsInFlight,
		Timeout:             metricsTimeout,
	})))
	if s.Web != nil {
		mountDashboard(mux, gate, s.Web, limits)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "nothing here: calls are POST /truechimer.v1.ClockService/Now and the like; see also /livez /healthz /readyz /metrics", http.StatusNotFound)
	})
	return mux
}

// timescaleOf returns the name of what timestamps and intervals are measured on.
func timescaleOf(s Services) string { return cmp.Or(s.Timescale, timescaleUTC) }

// report answers a health check: 200 and "ok", or 503 and the reasons.
func report(w http.ResponseWriter, reasons []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if len(reasons) == 0 {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, strings.Join(reasons, "\n"))
}

// markHeader is in every answer to a call, so that a client can tell it from what a gateway on the
// way says.
const markHeader = "Truechimer-Api"

// guardCall refuses what cannot be a call, with a sentence, where the RPC library would
// answer with a bare status. A browser can send a foreign page's form without asking us
// first, but none of the content types that pass here.
func guardCall(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(markHeader, "v1")
		advice := fmt.Sprintf("try: curl -H 'Content-Type: application/json' -d '{}' http://%s%s", r.Host, r.URL.EscapedPath())
		contentType := strings.ToLower(r.Header.Get("Content-Type"))
		known := slices.ContainsFunc([]string{"application/json", "application/proto", "application/connect+", "application/grpc"}, func(prefix string) bool {
			return strings.HasPrefix(contentType, prefix)
		})
		switch {
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "a call is a POST; "+advice, http.StatusMethodNotAllowed)
		case !known:
			http.Error(w, "the Content-Type of a call is application/json (or that of gRPC or Connect); "+advice, http.StatusUnsupportedMediaType)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// knownCalls refuses a call that the one service of a file does not have, in the protocol
// that it came in and with those that it has, and one whose answer is of another kind than
// its type can hold.
func knownCalls(next http.Handler, file protoreflect.FileDescriptor, refusals *connect.ErrorWriter) http.Handler {
	service := file.Services().Get(0)
	var calls []string
	for i := range service.Methods().Len() {
		calls = append(calls, string(service.Methods().Get(i).Name()))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, call, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		i := slices.Index(calls, call)
		if i < 0 {
			err := fmt.Errorf("%s has no call %q; its calls are %s", service.Name(), clipped(call), strings.Join(calls, ", "))
			_ = refusals.Write(w, r, connect.NewError(connect.CodeUnimplemented, err)) // a client that is gone needs no answer
			return
		}
		contentType := strings.ToLower(r.Header.Get("Content-Type"))
		one := strings.HasPrefix(contentType, "application/json") || strings.HasPrefix(contentType, "application/proto")
		many := strings.HasPrefix(contentType, "application/connect+")
		switch stream := service.Methods().Get(i).IsStreamingServer(); {
		case stream && one:
			http.Error(w, call+" is answered with a stream: its Content-Type is application/connect+json (or that of gRPC), and each message has an envelope", http.StatusUnsupportedMediaType)
		case !stream && many:
			http.Error(w, call+" is answered with one message: its Content-Type is application/json (or that of gRPC)", http.StatusUnsupportedMediaType)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// clipped is s, cut where it is long for a message.
func clipped(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// guardHost refuses requests that were sent to a name other than localhost, where callers
// without a credential have rights and there is no TLS. Without it a web page could point its
// own name at 127.0.0.1 and have a browser on this host ask us in its own right. With TLS we
// have no certificate for such a name; and what a browser sends shows no token of ours.
func (s *Server) guardHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.secrets != nil || s.gate.table.Load().anonymous.Rights == 0 {
			next.ServeHTTP(w, r)
			return
		}
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
			http.Error(w, "use an IP address or localhost in the URL: other names are served over TLS, or where every caller needs a credential", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// errorLines takes what the HTTP server has to say. A peer can cause each of these lines, so
// they are for debugging; but a handshake that failed is a refusal.
type errorLines struct {
	journal *journal
	log     *slog.Logger
}

func (e *errorLines) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	e.log.Debug(text)
	if rest, ok := strings.CutPrefix(text, "http: TLS handshake error from "); ok {
		if from, cause, _ := strings.Cut(rest, ": "); cause != "EOF" { // somebody who only looked whether the port is open
			e.journal.refused(from, "", "TLS handshake: "+cause, errUnknown)
		}
	}
	return len(line), nil
}
