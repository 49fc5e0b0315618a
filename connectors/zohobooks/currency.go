package zohobooks

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"tieline/connectors"
)

// currency is one that an organization has set up. Records name it by its id.
type currency struct {
	ID        id     `json:"currency_id"`
	Code      string `json:"currency_code"`
	Precision int    `json:"price_precision"` // decimals of its amounts
	Base      bool   `json:"is_base_currency"`
}

// findCurrency looks for one by its code.
func findCurrency(ctx context.Context, c connectors.Conn, code string) (found currency, there bool, err error) {
	err = each(ctx, c, "/settings/currencies", nil, func(x currency) (bool, error) {
		if there = strings.EqualFold(x.Code, code); there {
			found = x
		}
		return there, nil
	}, "currencies")
	if err != nil {
		err = fmt.Errorf("looking for the currency %s: %w", code, err)
	}
	return found, there, err
}

// currencyOf is one that must be there.
func currencyOf(ctx context.Context, c connectors.Conn, code string) (currency, error) {
	x, there, err := findCurrency(ctx, c, code)
	if err == nil && !there {
		err = wrong("currency", "The organization in Zoho Books does not have the currency "+strings.ToUpper(code)+". Add it there, under Settings, Currencies.")
	}
	return x, err
}

// ensureCurrency adds one that the organization lacks.
func ensureCurrency(ctx context.Context, c connectors.Conn, code string) error {
	if code == "" {
		return nil
	}
	code = strings.ToUpper(code)
	has := func(ctx context.Context, _ string) (connectors.Ref, bool, error) {
		x, there, err := findCurrency(ctx, c, code)
		return connectors.Ref{ID: string(x.ID), Name: code}, there, err
	}
	_, err := c.Effect(ctx, connectors.Set("currency", code), has, func(ctx context.Context, key string) (connectors.Ref, error) {
		ref, there, err := has(ctx, key)
		if err != nil || there {
			ref.Adopted = true
			return ref, err
		}
		var made struct {
			Currency currency `json:"currency"`
		}
		body := map[string]any{"currency_code": code, "currency_format": "1,234,567.89"}
		if err := call(ctx, c, request{http.MethodPost, "/settings/currencies", nil, body, &made}); err != nil {
			return connectors.Ref{}, err
		}
		return connectors.Ref{ID: string(made.Currency.ID), Name: code}, nil
	})
	if err != nil {
		return fmt.Errorf("adding the currency %s: %w", code, err)
	}
	return nil
}
