package flow

import (
	"context"
	"fmt"
	"slices"

	"tieline/connectors"
	"tieline/db"
)

// OptionQuery asks what a field may be set to: of an action's input or, without one, of the form of a connection.
type OptionQuery struct {
	Action, Field string
	Search        string
	From          OptionPlace
	First         int // how many at most
}

// OptionPlace is a place in what a vendor offers: so many options into the page that its own cursor leads to.
type OptionPlace struct {
	After string
	Skip  int
}

// OptionList is a stretch of the options.
type OptionList struct {
	Options []connectors.Option
	Places  []OptionPlace // behind each of them
	Next    OptionPlace
	More    bool
}

// maxOptionPages is how many of a vendor's pages are looked through for one answer: where the vendor searches nothing
// itself, few records of a long list match.
const maxOptionPages = 5

// FieldOptions lists what a field may be set to, as the vendor offers it through a connection.
func (e *Engine) FieldOptions(ctx context.Context, org, id db.ID, q OptionQuery) (OptionList, error) {
	row, err := db.GetConnection(ctx, e.DB, org, id)
	if err != nil {
		return OptionList{}, err
	}
	app, ok := e.Apps.App(row.App)
	if !ok {
		return OptionList{}, fmt.Errorf("no connector for app %q", row.App)
	}
	if row.State == ConnDisabled {
		return OptionList{}, problem(CodeState, "The connection is switched off.", "connectionId")
	}
	offer, bad := offerOf(app, q)
	if len(bad) > 0 {
		return OptionList{}, bad
	}
	pace := e.pacer(app, *row.VendorAccount)
	pace.within = personWaits
	c, err := e.open(row, &caller{pace: pace})
	if err != nil {
		return OptionList{}, err
	}
	list, err := walkOptions(ctx, c, offer, q)
	if err != nil {
		return OptionList{}, refusal(app, err, "field")
	}
	return list, nil
}

func offerOf(app connectors.Connector, q OptionQuery) (connectors.Offer, Problems) {
	if q.Action == "" {
		for _, f := range app.Auth {
			if f.Key == q.Field && f.Options != nil {
				return f.Options, nil
			}
		}
		return nil, problem(CodeNotFound, fmt.Sprintf("Nothing is offered for the field %q of %s's form.", q.Field, app.Name), "field")
	}
	a, ok := app.Action(q.Action)
	if !ok {
		return nil, problem(CodeNotFound, fmt.Sprintf("%s has no action %q.", app.Name, q.Action), "action")
	}
	if offer := a.Options[q.Field]; offer != nil {
		return offer, nil
	}
	return nil, problem(CodeNotFound, fmt.Sprintf("Nothing is offered for the field %q of %s. Action.optionFields says for which something is.", q.Field, q.Action), "field")
}

// walkOptions reads the vendor's pages until there are enough options, or enough pages were read.
func walkOptions(ctx context.Context, c connectors.Conn, offer connectors.Offer, q OptionQuery) (OptionList, error) {
	out := OptionList{Next: q.From}
	for range maxOptionPages {
		p, err := offer(ctx, c, q.Search, out.Next.After)
		if err != nil {
			return OptionList{}, err
		}
		at := min(out.Next.Skip, len(p.Options))
		rest := p.Options[at:]
		if room := q.First - len(out.Options); len(rest) > room {
			rest = rest[:room]
		}
		for i := range rest {
			out.Places = append(out.Places, OptionPlace{out.Next.After, at + i + 1})
		}
		out.Options = slices.Concat(out.Options, rest)
		if at += len(rest); at < len(p.Options) {
			out.Next.Skip, out.More = at, true
			return out, nil
		}
		out.Next, out.More = OptionPlace{After: p.After}, p.After != ""
		if !out.More || len(out.Options) == q.First {
			return out, nil
		}
	}
	return out, nil
}
