package fleet

// CheckHost returns what is wrong with an item of a group's hosts, or nil.
func CheckHost(item string) error {
	_, err := expandHost(nil, item)
	return err
}

// CheckExcluded returns what is wrong with an item of a group's exclusions, or nil.
func CheckExcluded(item string) error {
	_, err := exclusionOf([]string{item})
	return err
}

// Check returns all that is wrong with groups, or nil: New and Set take them.
func Check(groups []Group) error {
	_, _, err := expand(groups)
	return err
}
