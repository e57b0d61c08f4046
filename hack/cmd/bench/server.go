package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

const (
	answerWithin = 10 * time.Second // how long a server may take to serve
	settle       = 200 * time.Millisecond
)

// server is a contender that runs.
type server struct {
	address
	cmd *exec.Cmd
	log bytes.Buffer
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// start starts a contender on the servers' CPU. The programs before it in the
// command replace themselves by the next, so that the process is the server's own.
func start(ctx context.Context, o *options, c *contender) (*server, error) {
	dir, err := os.MkdirTemp(o.work, "server-")
	if err != nil {
		return nil, err
	}
	s := &server{}
	if s.address, err = freeAddress(dir); err != nil {
		return nil, err
	}
	if c.Command, err = c.command(s.address); err != nil {
		return nil, err
	}
	args := append(wrapper(o), c.Command...)
	s.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir, s.cmd.SysProcAttr = &s.log, &s.log, dir, dieWithUs()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return s, nil
}

// wrapper gives a server its CPU and its priority.
func wrapper(o *options) []string {
	args := []string{"taskset", "-c", fmt.Sprint(o.ServerCPU)}
	switch {
	case o.ServerFIFO > 0:
		args = append(args, "chrt", "-f", fmt.Sprint(o.ServerFIFO))
	case o.Nice != 0:
		args = append(args, "nice", "-n", fmt.Sprint(o.Nice))
	}
	return args
}

// stop kills the server, waits until it is gone, and removes its files.
func (s *server) stop() {
	_ = s.cmd.Process.Kill() // it may be gone already
	_ = s.cmd.Wait()         // it was killed
	_ = os.RemoveAll(s.dir)  // the directory above goes too
}

// refused counts what ours did with requests otherwise than answering them; the
// words are its verdicts.
func (s *server) refused(ctx context.Context) (map[string]uint64, error) {
	verdicts, err := s.verdicts(ctx)
	for name := range verdicts {
		if isAnswer(name) || verdicts[name] == 0 {
			delete(verdicts, name)
		}
	}
	return verdicts, err
}

// isAnswer reports whether a verdict of ours is an answer with the time.
func isAnswer(verdict string) bool {
	return verdict == "answered" || strings.HasPrefix(verdict, "interleaved")
}

// verdicts asks ours what became of the requests.
func (s *server) verdicts(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	node := rpcconnect.NewNodeServiceClient(http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d", s.api))
	status, err := node.Status(ctx, connect.NewRequest(&rpc.StatusRequest{}))
	if err != nil {
		return nil, fmt.Errorf("ask ours for its status: %w", err)
	}
	return status.Msg.Ntp.Verdicts, nil
}
