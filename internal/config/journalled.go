package config

import (
	"net/url"
	"slices"
	"strings"
)

// Journalled is the effective file as it is put on record for years, where more people may read it
// than the file: without the hashes of tokens, and without what may be a secret in the URL of a
// channel.
func (c Config) Journalled() string {
	c.Principals = slices.Clone(c.Principals)
	for i := range c.Principals {
		if p := &c.Principals[i]; p.Token != "" {
			p.Token = unsaid
		}
	}
	c.Alerts = slices.Clone(c.Alerts)
	for i := range c.Alerts {
		c.Alerts[i].URL = hostAlone(c.Alerts[i].URL)
	}
	return c.TOML()
}

// unsaid stands in the place of what is not put on record.
const unsaid = "(not on record)"

// JournalledOld and JournalledNew are Old and New as they are put on record; see Journalled.
func (c Change) JournalledOld() string { return c.journalled(c.Old) }

// JournalledNew: see JournalledOld.
func (c Change) JournalledNew() string { return c.journalled(c.New) }

func (c Change) journalled(value string) string {
	if value == "" {
		return ""
	}
	switch {
	case strings.HasPrefix(c.Key, principalSection+"[") && strings.HasSuffix(c.Key, "].token"):
		return unsaid
	case strings.HasPrefix(c.Key, alertSection+"[") && strings.HasSuffix(c.Key, "].url"):
		return hostAlone(value)
	}
	return value
}

// hostAlone is a URL up to its host.
func hostAlone(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return unsaid
	}
	if strings.Trim(u.Path, "/") == "" && u.RawQuery == "" {
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + "://" + u.Host + "/" + unsaid
}
