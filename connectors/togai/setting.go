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

	namespace = "USER"   // of settings that users and programs make
	dataType  = "STRING" // an id is a text
)

// settingNames are the names that flows use for them; any other name is a setting's id itself.
var settingNames = map[string]string{
	"stripe_customer_id": stripeCustomerID, "zuora_account_id": zuoraAccountID, "zoho_books_contact_id": zohoBooksContactID,
}

// elsewhere are the settings that name one record in another system.
var elsewhere = slices.Collect(maps.Values(settingNames))

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

// entityType is how settings name what carries them. ACCOUNT is documented, CUSTOMER by analogy.
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
	Entity   string `json:"entity" enum:"customer,account" doc:"What carries it."`
	EntityID string `json:"entity_id" minLength:"1" doc:"The id of the customer or account."`
	Setting  string `json:"setting" minLength:"1" doc:"The setting's id, or stripe_customer_id, zuora_account_id or zoho_books_contact_id."`
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
		a.Description, a.Entity, a.Reads = "Reads a setting of a customer or account.", "setting", true
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
		a.Description, a.Entity = "Writes a setting of a customer or account, new or not.", "setting"
	})
}

func runSetSetting(ctx context.Context, c connectors.Conn, in SetSettingInput) (SetSettingOutput, error) {
	id := in.fullID()
	ref := connectors.Ref{ID: id, Name: settingName(in.Setting), Attributes: map[string]string{attrValue: in.Value}}
	holds := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		s, there, err := in.fetch(ctx, c)
		return ref, err == nil && there && s.Value == in.Value, err
	}
	ref, err := c.Effect(ctx, connectors.Set("setting", id), holds, func(ctx context.Context, _ string) (connectors.Ref, error) {
		s, there, err := in.fetch(ctx, c)
		switch {
		case err != nil:
			return connectors.Ref{}, err
		case there && s.Value == in.Value:
			out := ref
			out.Adopted = true
			return out, nil
		case there:
			_, err = call(ctx, c, http.MethodPatch, path("settings", id), map[string]string{"value": in.Value}, nil)
		default:
			s.entitySetting = entitySettings(map[string]string{in.Setting: in.Value})[0]
			s.EntityType, s.EntityID = entityType(in.Entity), in.EntityID
			_, err = call(ctx, c, http.MethodPost, "/settings", s, nil)
		}
		return ref, err
	})
	if err != nil {
		return SetSettingOutput{}, fmt.Errorf("setting %s: %w", id, err)
	}
	return SetSettingOutput{SettingID: ref.ID, Value: ref.Attributes[attrValue]}, nil
}
