package daemon

import (
	"log/slog"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/config"
)

// apiOptions are what the API needs of the configuration.
func apiOptions(c *config.Config, log *slog.Logger) api.Options {
	return api.Options{
		Addrs:     c.API.Listen,
		TLS:       api.TLSFiles{Certificate: c.API.TLSCert, Key: c.API.TLSKey, ClientCA: c.API.ClientCA},
		Access:    access(c),
		AccessLog: c.API.AccessLog,
		Logger:    log,
	}
}

// access is who may call what.
func access(c *config.Config) api.Access {
	a := api.Access{Anonymous: rights(c.AnonymousRights()), MetricsOpen: c.API.OpenMetrics, HealthClosed: !c.API.OpenHealth}
	for i := range c.Principals {
		p := &c.Principals[i]
		known := api.Principal{
			Name: p.Name, Certificate: p.Certificate, Rights: rights(p.Rights), Streams: p.Streams,
			Quota: api.Quota{Calls: p.Calls, Timestamps: int64(p.TimestampsPerSecond), AppendBytes: int64(p.AppendBytesPerSecond)},
		}
		if hash, ok := config.ParseTokenHash(p.Token); ok {
			known.Token = &hash
		}
		a.Principals = append(a.Principals, known)
	}
	return a
}

// rights says the rights of the configuration in the API's words.
func rights(names []string) (r api.Rights) {
	for _, name := range names {
		switch name {
		case config.RightRead:
			r |= api.RightRead
		case config.RightIssue:
			r |= api.RightIssue
		case config.RightAppend:
			r |= api.RightAppend
		case config.RightAdmin:
			r |= api.RightAdmin
		}
	}
	return r
}
