package main

import (
	"fmt"
	"os"
)

// The addresses of the four interfaces. Neighbours are told each other's, so that
// no packet of theirs is lost or late for another reason than the path's.
const (
	hardwareC0 = "02:00:00:00:00:01"
	hardwareW0 = "02:00:00:00:00:02"
	hardwareW1 = "02:00:00:00:00:03"
	hardwareS0 = "02:00:00:00:00:04"
)

// layNetwork builds the three namespaces and the route between them.
func layNetwork(p plan) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	commands := []string{
		"ip link set lo up",
		"ip netns add wan",
		"ip netns add srv",
		"ip link add c0 address " + hardwareC0 + " type veth peer name w0 address " + hardwareW0 + " netns wan",
		"ip -n srv link add s0 address " + hardwareS0 + " type veth peer name w1 address " + hardwareW1 + " netns wan",
		"ip addr add " + clientAddress + "/24 dev c0",
		"ip -n wan addr add " + wanClientSide + "/24 dev w0",
		"ip -n wan addr add " + wanServerSide + "/24 dev w1",
	}
	for _, s := range p.Servers {
		commands = append(commands, "ip -n srv addr add "+s.Address+"/24 dev s0")
	}
	commands = append(commands,
		"ip link set c0 up",
		"ip -n wan link set w0 up",
		"ip -n wan link set w1 up",
		"ip -n srv link set lo up",
		"ip -n srv link set s0 up",
		"ip route add "+serverPrefix+"0/24 via "+wanClientSide,
		"ip -n srv route add default via "+wanServerSide,
		"ip neigh replace "+wanClientSide+" lladdr "+hardwareW0+" nud permanent dev c0",
		"ip -n wan neigh replace "+clientAddress+" lladdr "+hardwareC0+" nud permanent dev w0",
		"ip -n srv neigh replace "+wanServerSide+" lladdr "+hardwareW1+" nud permanent dev s0",
		"ip netns exec wan "+self+" guest-role put /proc/sys/net/ipv4/ip_forward 1",
	)
	for _, s := range p.Servers {
		commands = append(commands, "ip -n wan neigh replace "+s.Address+" lladdr "+hardwareS0+" nud permanent dev w1")
	}
	for _, c := range commands {
		err := run(c)
		if err != nil {
			return err
		}
	}
	return setRoute("add", p.Route)
}

// setRoute makes the path what p says: "add" it, or "change" it. What leaves by w1
// is on its way up to the servers.
func setRoute(verb string, p route) error {
	for device, l := range map[string]leg{"w1": p.Up, "w0": p.Down} {
		err := run(fmt.Sprintf("tc -n wan qdisc %s dev %s root netem delay %dus %dus loss %g%%",
			verb, device, l.Base.Microseconds(), l.Jitter.Microseconds(), p.LossPct))
		if err != nil {
			return err
		}
	}
	return nil
}
