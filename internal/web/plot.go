package web

import (
	"math"
	"strconv"
)

// plot is what the script draws a chart of: short, since every load carries it.
type plot struct {
	Unit  string     `json:"unit"`
	Start int64      `json:"start"` // Unix seconds
	Step  int64      `json:"step"`  // seconds
	Lines []plotLine `json:"lines"`
}

type plotLine struct {
	Label  string `json:"label"`
	Values packed `json:"v"`
	Bars   packed `json:"e,omitempty"`
}

func plots(figures []figure) map[string]plot {
	all := make(map[string]plot)
	for _, f := range figures {
		p := plot{Unit: string(f.unit), Start: f.grid.start, Step: f.grid.step, Lines: []plotLine{}}
		for i := range f.lines {
			l := &f.lines[i]
			p.Lines = append(p.Lines, plotLine{l.label, packed(l.drawn()), packed(l.bar)})
		}
		all[f.ID] = p
	}
	return all
}

// packed are numbers as text: the least, a quantum, and behind the comma two digits to the base of 64
// for each number, how many quanta it is above the least; two dots: it is not known.
type packed []float64

// packedDigits are the digits of packed, zero first.
const packedDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// MarshalText never fails.
func (p packed) MarshalText() ([]byte, error) {
	least, greatest := math.NaN(), math.NaN()
	for _, v := range p {
		least, greatest = lesser(v, least), greater(v, greatest)
	}
	quantum := (greatest - least) / (64*64 - 1)
	if !(quantum > 0) { // there is one number at the most
		quantum = 1
	}
	text := strconv.AppendFloat(nil, least, 'g', 8, 64)
	text = append(text, ',')
	text = strconv.AppendFloat(text, quantum, 'g', 8, 64)
	text = append(text, ',')
	for _, v := range p {
		if math.IsNaN(v) {
			text = append(text, ".."...)
			continue
		}
		q := int(math.Round((v - least) / quantum))
		text = append(text, packedDigits[q/64], packedDigits[q%64])
	}
	return text, nil
}
