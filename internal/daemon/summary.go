package daemon

import (
	"fmt"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// Summary says in plain words what is served, where, and what is believed of the clock.
func (d *Daemon) Summary() string {
	var b strings.Builder
	state := d.State()
	fmt.Fprintf(&b, "truechimer %s, node %s\n\n", d.version, state.Name)
	for _, a := range d.ntp.Addrs() {
		fmt.Fprintf(&b, "  NTP    udp %v\n", a)
	}
	scheme := "http"
	if d.config.API.TLSCert != "" {
		scheme = "https"
	}
	for _, a := range d.api.Addrs() {
		fmt.Fprintf(&b, "  API    %s://%v   gRPC, JSON, /metrics, /readyz\n", scheme, a)
	}
	fmt.Fprintf(&b, "  data   %s   epoch %d\n", d.node.DataDir, state.Issuer.Epoch)
	fmt.Fprintf(&b, "  clock  %s\n", d.clockWords(state.Clock, state.Mono))
	if state.Issuer.Started && state.Issuer.LeadAtStart > 0 {
		fmt.Fprintf(&b, "  hlc    starts %v ahead of the clock, above all that was issued before\n", state.Issuer.LeadAtStart.Round(time.Microsecond))
	}
	b.WriteString("\n")
	return b.String()
}

func (d *Daemon) clockWords(s *clock.Snapshot, mono time.Duration) string {
	switch {
	case s.Claims():
		return fmt.Sprintf("%s, within %v of UTC, stratum %d: %s", s.State, s.ErrorBound(mono).Round(time.Microsecond), s.Stratum, s.Reason)
	case s.Serves() && d.tour:
		return fmt.Sprintf(`%s: %s.
         There is no configuration file, so it is served all the same, labelled as
         local stratum %d. Timestamps are issued; intervals are refused, and this
         node is not ready.`, s.State, s.Reason, s.Stratum)
	case s.Serves():
		return fmt.Sprintf(`%s: %s.
         It is served as local stratum %d (clock.local_stratum). Timestamps are
         issued; intervals are refused, and this node is not ready.`, s.State, s.Reason, s.Stratum)
	default:
		return fmt.Sprintf(`%s: %s.
         NTP clients are told so. Nothing is issued before the first
         synchronisation; truechimer waitsync waits for it.`, s.State, s.Reason)
	}
}
