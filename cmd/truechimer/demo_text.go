package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/truechimer/truechimer/internal/demo"
)

const (
	panelGap = 2
	// panelMin shows enough of a line to know it by, panelTimed also what it is sorted by, and
	// more than panelMax would be blank.
	panelMin     = 20
	panelTimed   = 33
	panelMax     = 36
	markInverted = "▲"
	markLate     = "+"
)

// panelTitles are the three orders, in the order of demo.Orders.
func panelTitles() []string {
	return []string{"by the servers' clocks", "by hybrid timestamp", "by sequence"}
}

// painter colours, or leaves it.
type painter bool

func (p painter) paint(colour, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

const (
	red   = "31"
	amber = "33"
	green = "32"
	faint = "2"
	bold  = "1"
)

// writeChat prints a conversation in three orders: side by side in width letters, one below
// the other where there is no room for that; a width of 0 is as on a usual terminal.
func writeChat(out io.Writer, o *demo.Options, messages []demo.Message, coloured bool, width int) error {
	if width == 0 {
		width = widthUsual
	}
	p := painter(coloured)
	var b strings.Builder
	last := messages[len(messages)-1].Logged
	fmt.Fprintf(&b, "%s\n\n", strings.Join(broken(fmt.Sprintf("%d messages in %v, seed %d. amy and ann are at server A, whose clock is %s; ben and bob at B, whose clock is %s.",
		len(messages), last.Round(time.Microsecond*100), o.Seed, skewWords(o.Skews[0]), skewWords(o.Skews[1])), width), "\n"))

	orders := demo.Orders()
	panels := make([][]string, len(orders))
	views := make([]demo.View, len(orders))
	room := (width - (len(orders)-1)*panelGap) / len(orders)
	beside := room >= panelMin
	if !beside {
		room = width
	}
	room = min(room, panelMax)
	for i, by := range orders {
		views[i] = demo.Sort(messages, by)
		panels[i] = panel(p, panelTitles()[i], by, &views[i], room)
	}
	if beside {
		for row := range panels[0] {
			line := ""
			for i := range panels {
				line += padded(panels[i][row], room+panelGap)
			}
			fmt.Fprintln(&b, strings.TrimRight(line, " "))
		}
	} else {
		for _, lines := range panels {
			fmt.Fprintf(&b, "%s\n\n", strings.Join(lines, "\n"))
		}
	}
	b.WriteString("\n" + chatLegend(p, o, views, width))
	_, err := io.WriteString(out, b.String())
	return err
}

// skewWords says what is wrong with a clock.
func skewWords(skew time.Duration) string {
	switch {
	case skew > 0:
		return spanWords(skew) + " fast"
	case skew < 0:
		return spanWords(-skew) + " slow"
	default:
		return "right"
	}
}

// padded fills up with blanks what a terminal shows in fewer than width letters.
func padded(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-shown(s)))
}

// panel is a conversation in one order, in lines of at most width letters: a title, a row for
// each message, and what was counted.
func panel(p painter, title string, by demo.Order, v *demo.View, width int) []string {
	lines := []string{p.paint(bold, title), p.paint(faint, strings.Repeat("─", width))}
	for _, l := range v.Lines {
		lines = append(lines, panelRow(p, by, l, len(fmt.Sprint(len(v.Lines))), width))
	}
	return append(lines, p.paint(faint, strings.Repeat("─", width)), panelSum(p, v, width))
}

// panelRow is one message: mark, sequence and what it answers, its author, its text.
func panelRow(p painter, by demo.Order, l demo.Line, digits, width int) string {
	mark, colour := " ", ""
	switch {
	case l.Inverted:
		mark, colour = markInverted, red
	case l.Late:
		mark, colour = markLate, amber
	}
	number := fmt.Sprintf("%*d%-*s", digits, l.Sequence, digits+1, "")
	if l.Answers > 0 {
		number = fmt.Sprintf("%*d›%-*d", digits, l.Sequence, digits, l.Answers)
	}
	row := fmt.Sprintf("%s%s %s ", mark, number, l.Author)
	if key := panelKey(by, l); key != "" && width >= panelTimed {
		row += fmt.Sprintf("%7s ", key)
	}
	room := width - utf8.RuneCountInString(row)
	text := l.Text
	if utf8.RuneCountInString(text) > room {
		text = string([]rune(text)[:max(room-1, 0)]) + "…"
	}
	row += text
	if colour == "" {
		return row
	}
	return p.paint(colour, row)
}

// panelKey is what a message is sorted by, where that is a time.
func panelKey(by demo.Order, l demo.Line) string {
	switch by {
	case demo.ByServer:
		return millis(time.Unix(0, l.ServerUnixNs))
	case demo.ByHybrid:
		return millis(l.Hybrid.Time())
	default:
		return ""
	}
}

// millis are the milliseconds since the conversation began.
func millis(t time.Time) string {
	return fmt.Sprintf("%.1fms", float64(t.Sub(demo.Begin()))/float64(time.Millisecond))
}

// panelSum says what was counted.
func panelSum(p painter, v *demo.View, width int) string {
	marked := v.Late - v.Inversions // what is inverted is late as well, and marked once
	text, colour := fmt.Sprintf("%s %d inversions, %s %d late", markInverted, v.Inversions, markLate, marked), red
	switch {
	case v.Inversions == 0 && v.Late == 0:
		colour = green
	case v.Inversions == 0:
		colour = amber
	}
	if utf8.RuneCountInString(text) > width {
		text = fmt.Sprintf("%s %d  %s %d", markInverted, v.Inversions, markLate, marked)
	}
	return p.paint(colour, text)
}

// chatLegend says what one sees, and how to do it oneself.
func chatLegend(p painter, o *demo.Options, views []demo.View, width int) string {
	var b strings.Builder
	say := func(format string, args ...any) {
		fmt.Fprintf(&b, "%s\n", strings.Join(broken(fmt.Sprintf(format, args...), width), "\n"))
	}
	say("8›7 is message 8, which answers 7. %s inversion: an answer stands above what it answers. %s late: it came when a line below it had been read already, as %[1]s did too.", markInverted, markLate)
	b.WriteString("\n")
	server, hybrid := views[demo.ByServer], views[demo.ByHybrid]
	differ := (o.Skews[0] - o.Skews[1]).Abs()
	switch {
	case differ == 0:
		say("The servers' clocks agree, as no two clocks do. With --skew-a and --skew-b they differ.")
	case server.Inversions == 0:
		say("The servers' clocks differ by %s, and by luck every answer took longer than that. Another --seed is less lucky.", spanWords(differ))
	default:
		say("The servers' clocks differ by %s. An answer that takes less than that can be stamped before its question: %d of them were.", spanWords(differ), server.Inversions)
	}
	say("A hybrid timestamp is greater than all that its server had seen, so no answer stands above its question. But of two messages that were written at once either can come first: %d came when a later one had been read.", hybrid.Late)
	say("A sequence is given once, when the message is on disk. All read the same lines in the same order, and a new one is always the last.")
	rows := rows{width: width}
	rows.add("  truechimer append chat 'deploy now?'", "prints its sequence and timestamp")
	rows.add("  truechimer append chat --observe TS yes", "an answer to what has timestamp TS")
	rows.add("  truechimer read chat", "in the agreed order")
	rows.add("  truechimer watch chat", "and what comes from now on")
	b.WriteString("\n")
	for _, line := range broken("Do it yourself, with truechimer serve in another terminal:", width) {
		fmt.Fprintln(&b, p.paint(bold, line))
	}
	_ = rows.write(&b) // a Builder takes it all
	return b.String()
}
