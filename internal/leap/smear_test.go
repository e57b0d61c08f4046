package leap

import "testing"

func TestSmears(t *testing.T) {
	for host, want := range map[string]string{
		"time.google.com": "Google", "time1.google.com": "Google", "time4.google.com": "Google", "TIME.Google.Com.": "Google",
		"216.239.35.0": "Google", "216.239.35.12": "Google", "::ffff:216.239.35.4": "Google", "2001:4860:4806:c::": "Google",
		"time.aws.com": "Amazon", "0.time.aws.com": "Amazon", "169.254.169.123": "Amazon", "fd00:ec2::123": "Amazon",
		"[fd00:ec2::123]": "Amazon", "fd00:ec2::123%eth0": "Amazon",
		"time.facebook.com": "Meta", "time5.facebook.com": "Meta",

		"": "", ".": "", "google.com": "", "time5.google.com": "", "xtime.google.com": "", "time.google.com.example.org": "",
		"aws.com": "", "xaws.com": "", "time6.facebook.com": "", "time.nist.gov": "", "192.0.2.1": "", "216.239.35.16": "",
		"169.254.169.124": "", "fd00:ec2::124": "", "::": "", "2001:4860:4807::": "",
	} {
		who, ok := Smears(host)
		if who != want || ok != (want != "") {
			t.Errorf("%q: %q (%v), want %q", host, who, ok, want)
		}
	}
}

func TestSmearRefID(t *testing.T) {
	for id, want := range map[[4]byte]bool{{254, 0, 0, 1}: true, {254}: true, {253, 254, 254, 254}: false, {255}: false, {}: false} {
		if SmearRefID(id) != want {
			t.Errorf("%v: %v", id, !want)
		}
	}
}
