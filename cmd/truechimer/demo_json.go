package main

import (
	"strconv"

	"github.com/truechimer/truechimer/internal/demo"
)

// chatJSON is a conversation for programs. Sequences and timestamps are strings, as the
// API has them.
type chatJSON struct {
	Seed     string            `json:"seed"`
	SkewANs  string            `json:"skewANs"`
	SkewBNs  string            `json:"skewBNs"`
	Messages []chatMessageJSON `json:"messages"` // by sequence
	Orders   []chatOrderJSON   `json:"orders"`
}

type chatMessageJSON struct {
	Sequence     string `json:"sequence"`
	Answers      string `json:"answers"` // "0": nothing
	Read         string `json:"read"`    // the last sequence that its author had read
	Server       string `json:"server"`
	Author       string `json:"author"`
	Text         string `json:"text"`
	WrittenNs    string `json:"writtenNs"` // in truth, since the beginning
	LoggedNs     string `json:"loggedNs"`
	ServerUnixNs string `json:"serverUnixNs"`
	Timestamp    string `json:"timestamp"` // hybrid
}

type chatOrderJSON struct {
	Order      string   `json:"order"` // server, hybrid, sequence
	Sequences  []string `json:"sequences"`
	Inversions int      `json:"inversions"` // answers above what they answer
	Broken     int      `json:"broken"`     // pairs of which the author of the upper one knew the lower
	Late       int      `json:"late"`
}

// chatForPrograms is a conversation in all its orders.
func chatForPrograms(o *demo.Options, messages []demo.Message) chatJSON {
	whole := func(n int64) string { return strconv.FormatInt(n, 10) }
	count := func(n uint64) string { return strconv.FormatUint(n, 10) }
	j := chatJSON{Seed: count(o.Seed), SkewANs: whole(int64(o.Skews[0])), SkewBNs: whole(int64(o.Skews[1]))}
	for i := range messages {
		m := &messages[i]
		j.Messages = append(j.Messages, chatMessageJSON{
			Sequence: count(m.Sequence), Answers: count(m.Answers), Read: count(m.Read), Server: demo.ServerNames()[m.Server], Author: m.Author, Text: m.Text,
			WrittenNs: whole(int64(m.Written)), LoggedNs: whole(int64(m.Logged)), ServerUnixNs: whole(m.ServerUnixNs), Timestamp: count(uint64(m.Hybrid)),
		})
	}
	names := map[demo.Order]string{demo.ByServer: "server", demo.ByHybrid: "hybrid", demo.BySequence: "sequence"}
	for _, by := range demo.Orders() {
		v := demo.Sort(messages, by)
		one := chatOrderJSON{Order: names[by], Inversions: v.Inversions, Broken: v.Broken, Late: v.Late}
		for _, l := range v.Lines {
			one.Sequences = append(one.Sequences, count(l.Sequence))
		}
		j.Orders = append(j.Orders, one)
	}
	return j
}
