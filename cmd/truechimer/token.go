package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/config"
)

func newToken(c *client) *cobra.Command {
	p := config.DefaultPrincipal("somebody")
	rights, prefixes := []string{config.RightRead}, []string{}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token, and what the configuration file says of it",
		Long: `Makes a new token of 256 random bits, and prints it with the section that makes it known:
append that to the server's configuration file, and send SIGHUP. The file holds a hash, of
which nobody can find the token. The token is shown once; give it to who is to have it.
No server is asked.`,
		Example: "  truechimer token --name orders --rights read,issue,append --streams orders/\n  truechimer status --token-file orders.token",
		Args:    exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			p.Rights = rights
			if len(prefixes) > 0 {
				p.Streams = prefixes
			}
			return c.makeToken(p)
		},
	}
	cmd.Flags().StringVar(&p.Name, "name", p.Name, "who it is for")
	cmd.Flags().StringSliceVar(&rights, "rights", rights, "what it allows: "+strings.Join(config.Rights(), ", "))
	cmd.Flags().StringSliceVar(&prefixes, "streams", nil, "beginnings of the names of the streams that it is for; without it, all streams")
	return cmd
}

// tokenBits is how long a token is: too long to be found by trying.
const tokenBits = 256

// newTokenText returns a new token. Its beginning tells those who search for lost secrets what
// it is.
func newTokenText() string {
	var secret [tokenBits / 8]byte
	rand.Read(secret[:]) // never fails
	return "tc_" + base64.RawURLEncoding.EncodeToString(secret[:])
}

// madeToken is a new token for programs.
type madeToken struct {
	Token     string `json:"token"`
	Hash      string `json:"hash"`
	Principal string `json:"principal"` // its section of the configuration file
}

func (c *client) makeToken(p config.Principal) error {
	token := newTokenText()
	p.Token = config.TokenHash(token)
	section := p.TOML()
	if _, err := config.Parse("principal", []byte(section)); err != nil {
		return usage(badPrincipal(err))
	}
	if c.json {
		return c.printValue(madeToken{token, p.Token, section})
	}
	_, err := fmt.Fprintf(c.out, `token: %s

It is shown this once. For the server's configuration file, taken over at SIGHUP:

%s`, token, section)
	return err
}

// badPrincipal says what is wrong with the flags, without the file and line that there is not.
func badPrincipal(err error) error {
	var problems *config.Problems
	if !errors.As(err, &problems) || len(problems.List) == 0 {
		return err
	}
	first := problems.List[0]
	_, key, _ := strings.Cut(first.Key, ".")
	return fmt.Errorf("--%s: %s", key, first.Text)
}
