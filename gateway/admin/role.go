package admin

// Role is what somebody may do.
type Role uint8

// The roles, each of which may do what those before it may.
const (
	Nobody  Role = iota // nothing
	Read                // look at everything but secrets
	Operate             // change what is there
)

// String returns the role as the configuration writes it; "none" for Nobody.
func (r Role) String() string {
	switch r {
	case Read:
		return "read"
	case Operate:
		return "operate"
	default:
		return "none"
	}
}

// needs is the role that a route takes.
func (rt route) needs() Role {
	switch {
	case rt.open:
		return Nobody
	case rt.role == Nobody:
		return Operate
	default:
		return rt.role
	}
}
