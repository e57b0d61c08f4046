package demo

// people are who is at a server. Their names begin with its.
func people(server int) [2]string {
	return [2][2]string{{"amy", "ann"}, {"ben", "bob"}}[server]
}

// topics are what is talked about: two people, one line each in turn. No line has more
// than 14 letters, so that three stand side by side in 80 columns.
func topics() [][]string {
	return [][]string{
		{"deploy now?", "tests green", "then go", "rolling out", "it is live"},
		{"lunch?", "where?", "noodle bar", "half past?", "see you there"},
		{"who locked it?", "I did", "let go please", "let go", "got it, thanks"},
		{"your move", "knight f3", "bishop g4", "castle", "pawn takes e5"},
		{"is db1 down?", "disk is full", "clean the logs", "done", "it is back"},
		{"sell 100?", "at 42", "make it 41", "deal", "booked"},
		{"ball to you", "got it", "shoot!", "goal", "what a shot"},
		{"door open?", "yes", "close it", "closed", "lamp is green"},
		{"what is 6 x 7", "42", "and 42 x 2", "84", "correct"},
		{"ping", "pong", "ping again", "pong again"},
		{"who is there?", "a cow", "a cow who?", "cows say moo"},
		{"merge my PR?", "one typo", "fixed", "merged", "thank you"},
	}
}
