package togai

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tieline/connectors"
)

// Ids of settings in which records elsewhere are named, so that the Settings tab of a customer or account shows them.
// Togai documents such ids for other apps (SalesforceAccountId, QuickbooksCustomerId), for these it says only that there
// are some: the names are our assumption, in the same style. https://github.com/zuora/togai-mintlify-docs/tree/main/docs/integrations
const (
	stripeCustomerID   = "StripeCustomerId"
	zuoraAccountID     = "ZuoraAccountId"
	zohoBooksContactID = "ZohoBooksContactId"

	stripeInvoiceID    = "StripeInvoiceId"
	stripePaymentLink  = "StripePaymentLink"
	zuoraInvoiceID     = "ZuoraInvoiceId"
	zuoraSubscription  = "ZuoraSubscriptionId"
	zuoraCharge        = "ZuoraChargeId"
	zohoBooksInvoiceID = "ZohoBooksInvoiceId"

	namespace = "USER"   // of settings that users and programs make
	dataType  = "STRING" // an id is a text
)

// settingNames are the names that flows use for them; any other name is a setting's id itself.
var settingNames = map[string]string{
	"stripe_customer_id": stripeCustomerID, "zuora_account_id": zuoraAccountID, "zoho_books_contact_id": zohoBooksContactID,
	"stripe_invoice_id": stripeInvoiceID, "stripe_payment_link": stripePaymentLink, "zuora_invoice_id": zuoraInvoiceID, "zuora_subscription_id": zuoraSubscription,
	"zuora_charge_id": zuoraCharge, "zoho_books_invoice_id": zohoBooksInvoiceID,
}

// elsewhere are the settings that name the one record that a customer or account is in another system.
var elsewhere = []string{stripeCustomerID, zuoraAccountID, zohoBooksContactID}

func settingName(name string) string {
	if id, ok := settingNames[name]; ok {
		return id
	}
	return name
}

// entitySetting is a setting inside of what carries it.
type entitySetting struct {
	ID        string `json:"id"`
	Value     string `json:"value"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	DataType  string `json:"dataType"`
}

// setting is one on its own.
type setting struct {
	entitySetting
	EntityType string `json:"entityType"`
	EntityID   string `json:"entityId"`
}

// entitySettings are those of a flow's map, in the order of their names; empty values are left out.
func entitySettings(values map[string]string) (out []entitySetting) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if v := values[name]; v != "" {
			id := settingName(name)
			out = append(out, entitySetting{ID: id, Value: v, Namespace: namespace, Name: id, DataType: dataType})
		}
	}
	return out
}

func valueOf(list []entitySetting, id string) string {
	for _, s := range list {
		if s.ID == id && strings.EqualFold(s.Namespace, namespace) {
			return s.Value
		}
	}
	return ""
}

// entityType is how settings name what carries them. ACCOUNT is documented, the others are by analogy.
func entityType(entity string) string { return strings.ToUpper(entity) }

func settingsOf(ctx context.Context, c connectors.Conn, entity, id string) ([]entitySetting, error) {
	found, _, err := upTo[entitySetting](ctx, c, "settings", url.Values{"entity_type": {entityType(entity)}, "entity_id": {id}}, 1000)
	if err != nil {
		return nil, fmt.Errorf("reading the settings of %s %s: %w", entity, id, err)
	}
	return found, nil
}

// GetSettingInput names a setting.
type GetSettingInput struct {
	Entity   string `json:"entity" enum:"customer,account,invoice,price_plan,usage_meter" doc:"What carries it."`
	EntityID string `json:"entity_id" minLength:"1" doc:"The id of what carries it."`
	Setting  string `json:"setting" minLength:"1" doc:"The setting's id, or one of stripe_customer_id, stripe_invoice_id, stripe_payment_link, zuora_account_id, zuora_invoice_id, zuora_subscription_id, zuora_charge_id, zoho_books_contact_id and zoho_books_invoice_id."`
}

// fullID joins five parts with dots: setting.USER.StripeCustomerId.ACCOUNT.acme.
func (in GetSettingInput) fullID() string {
	return strings.Join([]string{"setting", namespace, settingName(in.Setting), entityType(in.Entity), in.EntityID}, ".")
}

func (in GetSettingInput) fetch(ctx context.Context, c connectors.Conn) (s setting, there bool, err error) {
	_, err = call(ctx, c, http.MethodGet, path("settings", in.fullID()), nil, &s)
	switch {
	case missing(err):
		return setting{}, false, nil
	case err != nil:
		return setting{}, false, fmt.Errorf("reading setting %s: %w", in.fullID(), err)
	case s.ID == "":
		return setting{}, false, garbled(http.StatusOK, false)
	}
	return s, true, nil
}

// GetSettingOutput is a setting, if it is there.
type GetSettingOutput struct {
	Found     bool   `json:"found" doc:"Whether there is such a setting."`
	SettingID string `json:"setting_id" doc:"Its full id, such as setting.USER.StripeCustomerId.ACCOUNT.acme."`
	Value     string `json:"value" doc:"Its value; empty when there is none."`
}

func getSetting() connectors.Action {
	return connectors.Do("setting.get", "Get setting", func(ctx context.Context, c connectors.Conn, in GetSettingInput) (GetSettingOutput, error) {
		s, there, err := in.fetch(ctx, c)
		if err != nil {
			return GetSettingOutput{}, err
		}
		return GetSettingOutput{Found: there, SettingID: in.fullID(), Value: s.Value}, nil
	}, GetSettingInput{Entity: "account", EntityID: "acme", Setting: "stripe_customer_id"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Reads a setting of a customer, account, invoice, price plan or usage meter.", "setting", true
		a.Help = "A setting that is not there is no error: found is false then."
	})
}

// SetSettingInput is a setting's new value.
type SetSettingInput struct {
	GetSettingInput
	Value string `json:"value" minLength:"1" doc:"The value."`
}

// SetSettingOutput is what setting leaves.
type SetSettingOutput struct {
	SettingID string `json:"setting_id" doc:"Its full id, such as setting.USER.StripeCustomerId.ACCOUNT.acme."`
	Value     string `json:"value" doc:"Its value."`
}

func setSetting() connectors.Action {
	return connectors.Do("setting.set", "Set setting", runSetSetting, SetSettingInput{
		GetSettingInput: GetSettingInput{Entity: "account", EntityID: "acme", Setting: "stripe_customer_id"}, Value: "cus_NffrFeUfNV2Hib",
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Writes a setting of a customer, account, invoice, price plan or usage meter, new or not.", "setting"
		a.Help = "People see it in the Settings tab of what carries it. One that has the value already is left as it is."
	})
}

func runSetSetting(ctx context.Context, c connectors.Conn, in SetSettingInput) (SetSettingOutput, error) {
	id := in.fullID()
	for tries := 0; ; tries++ {
		w := settingWrite{in, c, false}
		ref, err := c.Effect(ctx, connectors.Set("setting", id), w.holds, w.send)
		if w.overtaken && tries < maxOvertaken {
			continue
		}
		if err != nil {
			return SetSettingOutput{}, fmt.Errorf("setting %s: %w", id, err)
		}
		return SetSettingOutput{SettingID: ref.ID, Value: ref.Attributes[attrValue]}, nil
	}
}

// maxOvertaken is how often a setting may come and go under a write before that is told.
const maxOvertaken = 3

// settingWrite is one try to write a setting.
type settingWrite struct {
	in        SetSettingInput
	c         connectors.Conn
	overtaken bool // refused, because somebody made or removed the setting after our look
}

func (w *settingWrite) ref(adopted bool) connectors.Ref {
	return connectors.Ref{ID: w.in.fullID(), Name: settingName(w.in.Setting), Attributes: map[string]string{attrValue: w.in.Value}, Adopted: adopted}
}

func (w *settingWrite) holds(ctx context.Context, _ string) (connectors.Ref, bool, error) {
	s, there, err := w.in.fetch(ctx, w.c)
	return w.ref(false), err == nil && there && s.Value == w.in.Value, err
}

func (w *settingWrite) send(ctx context.Context, _ string) (connectors.Ref, error) {
	s, there, err := w.in.fetch(ctx, w.c)
	switch {
	case err != nil:
		return connectors.Ref{}, err
	case there && s.Value == w.in.Value:
		return w.ref(true), nil
	case there:
		_, err = call(ctx, w.c, http.MethodPatch, path("settings", w.in.fullID()), map[string]string{"value": w.in.Value}, nil)
	default:
		s.entitySetting = entitySettings(map[string]string{w.in.Setting: w.in.Value})[0]
		s.EntityType, s.EntityID = entityType(w.in.Entity), w.in.EntityID
		_, err = call(ctx, w.c, http.MethodPost, "/settings", s, nil)
	}
	if !taken(err) && !missing(err) {
		return w.ref(false), err
	}
	now, still, lookErr := w.in.fetch(ctx, w.c)
	switch {
	case lookErr != nil: // nothing was done; the next try begins with this look
		return connectors.Ref{}, connectors.Errorf(connectors.Unavailable, "%w; what is there could not be read: %w", err, lookErr)
	case still && now.Value == w.in.Value:
		return w.ref(true), nil
	case still != there || there && taken(err): // an effect makes one write, so the other kind of write is another effect's
		w.overtaken = true
		return connectors.Ref{}, connectors.Errorf(connectors.Invalid, "%w", err)
	}
	return connectors.Ref{}, err
}
