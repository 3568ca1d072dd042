package roster

// Kind is the type of a presence stanza that is about a subscription (RFC 6121
// §3).
type Kind string

// The four kinds.
const (
	Subscribe    Kind = "subscribe"    // asks for one (§3.1)
	Subscribed   Kind = "subscribed"   // approves (§3.1.4), or pre-approves (§3.4)
	Unsubscribe  Kind = "unsubscribe"  // ends one's own (§3.3)
	Unsubscribed Kind = "unsubscribed" // denies, or cancels that of the other (§3.2)
)

// KindOf returns the kind for the type of a presence stanza, false for one that
// is not about subscriptions.
func KindOf(typ string) (Kind, bool) {
	switch k := Kind(typ); k {
	case Subscribe, Subscribed, Unsubscribe, Unsubscribed:
		return k, true
	}
	return "", false
}

// State is one of the nine states of a subscription as one side sees it (RFC
// 6121 §A.1). The zero State is that of somebody unknown, too.
type State uint8

// The nine states.
const (
	None State = iota
	NonePendingOut
	NonePendingIn
	NonePendingOutIn
	To
	ToPendingIn
	From
	FromPendingOut
	Both
	states int = iota
)

// parts are what the states are made of.
var parts = [states]struct {
	name, subscription string
	to, from, out, in  bool
}{
	None:             {name: "None", subscription: "none"},
	NonePendingOut:   {name: "None + Pending Out", subscription: "none", out: true},
	NonePendingIn:    {name: "None + Pending In", subscription: "none", in: true},
	NonePendingOutIn: {name: "None + Pending Out+In", subscription: "none", out: true, in: true},
	To:               {name: "To", subscription: "to", to: true},
	ToPendingIn:      {name: "To + Pending In", subscription: "to", to: true, in: true},
	From:             {name: "From", subscription: "from", from: true},
	FromPendingOut:   {name: "From + Pending Out", subscription: "from", from: true, out: true},
	Both:             {name: "Both", subscription: "both", to: true, from: true},
}

// String is the name of the state in RFC 6121 §A.1.
func (s State) String() string { return parts[s].name }

// Subscription is the attribute of a roster item: none, to, from or both (RFC
// 6121 §2.1.2.5).
func (s State) Subscription() string { return parts[s].subscription }

// HasTo says that the user gets the contact's presence.
func (s State) HasTo() bool { return parts[s].to }

// HasFrom says that the contact gets the user's presence.
func (s State) HasFrom() bool { return parts[s].from }

// PendingOut says that the user has asked and the contact has not answered.
func (s State) PendingOut() bool { return parts[s].out }

// PendingIn says that the contact has asked and the user has not answered.
func (s State) PendingIn() bool { return parts[s].in }

// stateOf returns the state of these parts. Nobody asks for what he has: out
// beside to, and in beside from, count for nothing.
func stateOf(to, from, out, in bool) State {
	out, in = out && !to, in && !from
	for s, p := range parts {
		if p.to == to && p.from == from && p.out == out && p.in == in {
			return State(s)
		}
	}
	return None // not reached: the nine are all there are
}

// Transition is what a subscription stanza does in a state.
type Transition struct {
	Next State
	// Pass: an outbound stanza is routed to the contact, an inbound one delivered
	// to the user's resources.
	Pass bool
	// Reply: the server answers an inbound subscribe with subscribed for the user.
	Reply bool
	// Approve notes the user's approval of a request to come (RFC 6121 §3.4),
	// Withdraw takes it back.
	Approve, Withdraw bool
}

// Outbound returns what a stanza of the user to the contact does (RFC 6121 §A.2).
func Outbound(s State, k Kind) Transition { return outbound[k][s] }

// Inbound returns what a stanza of the contact to the user does (RFC 6121 §A.3);
// approved says that the user has approved a request before it came (§3.4.2).
func Inbound(s State, k Kind, approved bool) Transition {
	if k == Subscribe && approved && !s.HasFrom() {
		return Transition{Next: stateOf(s.HasTo(), true, s.PendingOut(), false), Reply: true}
	}
	return inbound[k][s]
}

// outbound is RFC 6121 §A.2. What the user asks for or gives up goes to the contact
// in every state: should the two sides disagree, this is what mends it.
var outbound = map[Kind][states]Transition{
	Subscribe: { // §A.2.1
		None:             {Next: NonePendingOut, Pass: true},
		NonePendingOut:   {Next: NonePendingOut, Pass: true},
		NonePendingIn:    {Next: NonePendingOutIn, Pass: true},
		NonePendingOutIn: {Next: NonePendingOutIn, Pass: true},
		To:               {Next: To, Pass: true},
		ToPendingIn:      {Next: ToPendingIn, Pass: true},
		From:             {Next: FromPendingOut, Pass: true},
		FromPendingOut:   {Next: FromPendingOut, Pass: true},
		Both:             {Next: Both, Pass: true},
	},
	Unsubscribe: { // §A.2.2
		None:             {Next: None, Pass: true},
		NonePendingOut:   {Next: None, Pass: true},
		NonePendingIn:    {Next: NonePendingIn, Pass: true},
		NonePendingOutIn: {Next: NonePendingIn, Pass: true},
		To:               {Next: None, Pass: true},
		ToPendingIn:      {Next: NonePendingIn, Pass: true},
		From:             {Next: From, Pass: true},
		FromPendingOut:   {Next: From, Pass: true},
		Both:             {Next: From, Pass: true},
	},
	Subscribed: { // §A.2.3; without a request it is a pre-approval (§3.4.2)
		None:             {Next: None, Approve: true},
		NonePendingOut:   {Next: NonePendingOut, Approve: true},
		NonePendingIn:    {Next: From, Pass: true},
		NonePendingOutIn: {Next: FromPendingOut, Pass: true},
		To:               {Next: To, Approve: true},
		ToPendingIn:      {Next: Both, Pass: true},
		From:             {Next: From},
		FromPendingOut:   {Next: FromPendingOut},
		Both:             {Next: Both},
	},
	Unsubscribed: { // §A.2.4; who cancels does not mean to approve the next request
		None:             {Next: None, Withdraw: true},
		NonePendingOut:   {Next: NonePendingOut, Withdraw: true},
		NonePendingIn:    {Next: None, Pass: true, Withdraw: true},
		NonePendingOutIn: {Next: NonePendingOut, Pass: true, Withdraw: true},
		To:               {Next: To, Withdraw: true},
		ToPendingIn:      {Next: To, Pass: true, Withdraw: true},
		From:             {Next: None, Pass: true, Withdraw: true},
		FromPendingOut:   {Next: NonePendingOut, Pass: true, Withdraw: true},
		Both:             {Next: To, Pass: true, Withdraw: true},
	},
}

// inbound is RFC 6121 §A.3. What changes nothing is not shown to the user.
var inbound = map[Kind][states]Transition{
	Subscribe: { // §A.3.1
		None:             {Next: NonePendingIn, Pass: true},
		NonePendingOut:   {Next: NonePendingOutIn, Pass: true},
		NonePendingIn:    {Next: NonePendingIn},
		NonePendingOutIn: {Next: NonePendingOutIn},
		To:               {Next: ToPendingIn, Pass: true},
		ToPendingIn:      {Next: ToPendingIn},
		From:             {Next: From, Reply: true},
		FromPendingOut:   {Next: FromPendingOut, Reply: true},
		Both:             {Next: Both, Reply: true},
	},
	Unsubscribe: { // §A.3.2
		None:             {Next: None},
		NonePendingOut:   {Next: NonePendingOut},
		NonePendingIn:    {Next: None, Pass: true},
		NonePendingOutIn: {Next: NonePendingOut, Pass: true},
		To:               {Next: To},
		ToPendingIn:      {Next: To, Pass: true},
		From:             {Next: None, Pass: true},
		FromPendingOut:   {Next: NonePendingOut, Pass: true},
		Both:             {Next: To, Pass: true},
	},
	Subscribed: { // §A.3.3
		None:             {Next: None},
		NonePendingOut:   {Next: To, Pass: true},
		NonePendingIn:    {Next: NonePendingIn},
		NonePendingOutIn: {Next: ToPendingIn, Pass: true},
		To:               {Next: To},
		ToPendingIn:      {Next: ToPendingIn},
		From:             {Next: From},
		FromPendingOut:   {Next: Both, Pass: true},
		Both:             {Next: Both},
	},
	Unsubscribed: { // §A.3.4
		None:             {Next: None},
		NonePendingOut:   {Next: None, Pass: true},
		NonePendingIn:    {Next: NonePendingIn},
		NonePendingOutIn: {Next: NonePendingIn, Pass: true},
		To:               {Next: None, Pass: true},
		ToPendingIn:      {Next: NonePendingIn, Pass: true},
		From:             {Next: From},
		FromPendingOut:   {Next: From, Pass: true},
		Both:             {Next: From, Pass: true},
	},
}
