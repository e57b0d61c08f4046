package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/truechimer/truechimer/internal/daemon"
	"github.com/truechimer/truechimer/internal/rpc"
)

func newJournal(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "The evidence: what was measured, decided and changed",
		Args:  subcommandOnly,
		RunE:  helpOnly,
	}
	cmd.AddCommand(newJournalVerify(c), newJournalShow(c), newJournalHead(c))
	return cmd
}

func newJournalVerify(c *client) *cobra.Command {
	var heads, keys []string
	var headFile, dir string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that no record was changed, removed or moved",
		Long: `Walks the whole journal of the server, or with --data of a data directory that no server
has open or of a backup, and proves that every record is as it was written and that none
is missing. With --head, a line that the server has handed out (to its log, a file, a
webhook), it proves besides that the journal still holds all that it held then: whoever
can write to the disk can make a journal anew, but not one that a head from elsewhere
fits. --key names the public keys that may have signed. What is wrong is listed, with
exit code 1.`,
		Example: "  truechimer journal verify\n  truechimer journal verify --data /var/backups/truechimer-1 --head-file /mnt/audit/truechimer.heads",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if headFile != "" {
				lines, err := readHeads(headFile, headsMax-len(heads))
				if err != nil {
					return err
				}
				heads = append(heads, lines...)
			}
			var done *rpc.VerifyJournalResponse
			var err error
			if dir != "" {
				done, err = c.verifyDirectory(cmd.Context(), dir, heads, keys)
			} else {
				done, err = c.verifyServer(cmd.Context(), heads, keys)
			}
			if err != nil {
				return err
			}
			return c.printVerifiedJournal(done)
		},
	}
	cmd.Flags().StringArrayVar(&heads, "head", nil, "a head that was handed out; can be said more than once")
	cmd.Flags().StringVar(&headFile, "head-file", "", "a file of heads, one a line: the first, the last, and some in between are taken")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "the public key that may have signed, hexadecimal; can be said more than once; needs --data")
	cmd.Flags().StringVar(&dir, "data", "", "a data directory that no server has open, or a backup")
	return cmd
}

// headsMax is how many heads are compared at a time.
const headsMax = 100

// readHeads reads a file of heads. Where it holds more than most, those that it returns are spread
// over it evenly, the first and the last among them; the last alone where there is room for one.
func readHeads(name string, most int) ([]string, error) {
	if most < 1 {
		return nil, usage(fmt.Errorf("%d heads can be compared at a time: say --head less often", headsMax))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the heads: %w", err)
	}
	defer f.Close()
	var all []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			all = append(all, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the heads: %w", err)
	}
	if len(all) == 0 {
		return nil, usage(fmt.Errorf("%s holds no head", name))
	}
	if len(all) <= most {
		return all, nil
	}
	some := make([]string, most)
	for i := range some {
		some[most-1-i] = all[len(all)-1-i*(len(all)-1)/max(1, most-1)]
	}
	return some, nil
}

// verifyServer has the server verify its journal.
func (c *client) verifyServer(ctx context.Context, heads, keys []string) (*rpc.VerifyJournalResponse, error) {
	if len(keys) > 0 {
		return nil, usage(errors.New("--key needs --data: a server that was taken over could say of any key that it is the one"))
	}
	stream, err := c.evidence().VerifyJournal(ctx, connect.NewRequest(&rpc.VerifyJournalRequest{Heads: heads}))
	if err != nil {
		return nil, c.failure(err)
	}
	defer stream.Close()
	bar := c.progress()
	defer bar.erase()
	for stream.Receive() {
		m := stream.Msg()
		if m.Done {
			return m, nil
		}
		bar.show(func() string {
			return barText("verifying", m.Checked, m.Total, func(n uint64) string { return fmt.Sprint(n) })
		})
	}
	if err := stream.Err(); err != nil {
		return nil, c.failure(err)
	}
	return nil, errors.New("the server ended before it was done; look at its log")
}

// verifyDirectory verifies the journal of a directory.
func (c *client) verifyDirectory(ctx context.Context, dir string, heads, keys []string) (*rpc.VerifyJournalResponse, error) {
	bar := c.progress()
	defer bar.erase()
	done, err := daemon.VerifyJournal(ctx, dir, heads, keys, func(m *rpc.VerifyJournalResponse) {
		bar.show(func() string {
			return barText("verifying", m.Checked, m.Total, func(n uint64) string { return fmt.Sprint(n) })
		})
	})
	switch {
	case errors.Is(err, daemon.ErrHead):
		return nil, usage(err)
	case err != nil:
		return nil, offlineFailure(ctx, err)
	}
	return done, nil
}

func (c *client) printVerifiedJournal(m *rpc.VerifyJournalResponse) error {
	if c.json {
		if err := c.printJSON(m); err != nil {
			return err
		}
	} else {
		all := rows{width: c.width()}
		all.add("checked", "%s, %s", plural(m.Checked, "record"), plural(m.Signatures, "signature"))
		for _, p := range m.Problems {
			all.add("problem", "%s", p)
		}
		for _, n := range m.Notes {
			all.add("note", "%s", n)
		}
		if len(m.Problems) == 0 {
			all.add("whole", "every record is as it was written, and none is missing")
		}
		if err := all.write(c.out); err != nil {
			return err
		}
	}
	if n := len(m.Problems); n > 0 {
		return fmt.Errorf("%s found in the journal: keep this data directory as it is, and find out what happened", wasWere(uint64(n), "problem"))
	}
	return nil
}

func newJournalShow(c *client) *cobra.Command {
	var r rpc.JournalRequest
	var from, to instantFlag
	var raw, all bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print records, one a line",
		Long: `Prints records of the journal: by default the latest of the evidence. Each is a line:
sequence, time, kind, and what it says, as JSON; with --json each line is JSON alone.
Kinds are ` + "started, stopped, configured, source, minute, hour, clock, alarm, delivery,\nbreach, pre_open, host, operation, key" + `; with --raw measured, seconds and probe.`,
		Example: "  truechimer journal show --kind breach --kind clock --from 30d --all\n  truechimer journal show --raw --kind measured --limit 5",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if raw {
				r.Track = rpc.JournalTrack_JOURNAL_TRACK_RAW
			}
			r.FromUnixNs, r.ToUnixNs = from.unix(), to.unix()
			return c.showJournal(cmd.Context(), &r, all)
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "measurements, and the clock second by second, which are kept for some days")
	cmd.Flags().StringArrayVar(&r.Kinds, "kind", nil, "only this kind; can be said more than once")
	cmd.Flags().Var(&from, "from", "from a time on, or how long ago")
	cmd.Flags().Var(&to, "to", "up to a time")
	cmd.Flags().Uint64Var(&r.FromSequence, "sequence", 0, "from this record on")
	cmd.Flags().Uint32Var(&r.Limit, "limit", 20, "how many at the most, 1 to 1000")
	cmd.Flags().BoolVar(&all, "all", false, "all that there are from --from or --sequence on, however many")
	return cmd
}

func (c *client) showJournal(ctx context.Context, r *rpc.JournalRequest, all bool) error {
	if all && r.FromUnixNs == 0 && r.FromSequence == 0 {
		r.FromSequence = 1
	}
	const pageMax = 1000
	wanted := int(r.Limit) // a page can hold less where others had to be passed over
	if wanted > pageMax || wanted < 1 && !all {
		return usage(fmt.Errorf("--limit is %d; want 1 to %d, or --all", wanted, pageMax))
	}
	out := bufio.NewWriter(c.out)
	for {
		if r.Limit = uint32(wanted); all {
			r.Limit = pageMax
		}
		m, err := call(ctx, c, c.evidence().Journal, r)
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		for _, record := range m.Records {
			if err := c.writeRecord(out, record); err != nil {
				return err
			}
		}
		if wanted -= len(m.Records); m.NextSequence == 0 || !all && wanted <= 0 {
			return out.Flush()
		}
		r.FromSequence, r.FromUnixNs = m.NextSequence, 0
	}
}

func (c *client) writeRecord(out io.Writer, m *rpc.JournalRecord) error {
	if c.json {
		return writeJSON(out, m)
	}
	entry, err := protojson.Marshal(m.Entry)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Compact(&text, entry); err != nil { // the encoder strews blanks
		return err
	}
	_, err = fmt.Fprintf(out, "%d  %s  %s  %s\n", m.Sequence, time.Unix(0, m.UnixNs).UTC().Format(time.RFC3339), m.Kind, &text)
	return err
}

func newJournalHead(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "head",
		Short: "Print where the journal stands, signed, and what it takes on disk",
		Long: `Prints the last head that the server has signed, once a minute: keep it on another machine,
and truechimer journal verify --head proves later that nothing before it was changed. With
the public key that signs, how many records there are, how long they are kept, and what
the journal takes, and is planned to take, on disk.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := call(cmd.Context(), c, c.evidence().JournalHead, &rpc.JournalHeadRequest{})
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(m)
			}
			days := func(seconds uint64) string { return plural(seconds/86400, "day") }
			since := func(unix int64) string {
				if unix == 0 {
					return "none yet"
				}
				return "since " + time.Unix(0, unix).UTC().Format(time.RFC3339)
			}
			all := rows{} // a head is one line, however long
			if m.Head == "" {
				m.Head = "none yet; one is signed each minute"
			}
			all.add("head", "%s", m.Head)
			all.add("key", "%s", m.PublicKey)
			all.add("evidence", "%s, %s; kept for %s", plural(m.EvidenceRecords, "record"), since(m.EvidenceSinceUnixNs), days(m.EvidenceKeptSeconds))
			all.add("raw", "%s, %s; kept for %s", plural(m.RawRecords, "record"), since(m.RawSinceUnixNs), days(m.RawKeptSeconds))
			all.add("disk", "%s of %s planned", bytesWords(m.Bytes), bytesWords(m.PlannedBytes))
			if m.Dropped > 0 {
				all.add("lost", "%s that the disk did not take, since the start", plural(m.Dropped, "record"))
			}
			return all.write(c.out)
		},
	}
}
