package zohobooks

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"

	"tieline/connectors"
)

// payment as GET answers it; lists leave out the reference number.
type payment struct {
	ID        id     `json:"payment_id"`
	Amount    number `json:"amount"`
	Reference string `json:"reference_number"`
	Invoices  []struct {
		InvoiceID id     `json:"invoice_id"`
		Balance   number `json:"balance_amount"`
	} `json:"invoices"`
}

func (x payment) ref() connectors.Ref { return connectors.Ref{ID: string(x.ID), Name: x.Reference} }

func fetchPayment(ctx context.Context, c connectors.Conn, key string) (payment, error) {
	var out struct {
		Payment payment `json:"payment"`
	}
	if err := get(ctx, c, path("customerpayments", key), nil, &out); err != nil {
		return payment{}, fmt.Errorf("reading payment %s: %w", key, err)
	}
	if out.Payment.ID == "" {
		return payment{}, garbled(http.StatusOK, false)
	}
	return out.Payment, nil
}

// RecordPaymentInput is a payment of an invoice.
type RecordPaymentInput struct {
	ReferenceNumber string `json:"reference_number" minLength:"1" maxLength:"100" doc:"Its id elsewhere, such as that of a payment in Stripe: one is recorded once."`
	InvoiceID       string `json:"invoice_id" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the invoice that is paid."`
	Amount          string `json:"amount" format:"decimal" doc:"In major units of the invoice's currency; no more than its balance."`
	Date            string `json:"date" format:"date" doc:"When it was paid."`
	Mode            string `json:"mode,omitempty" enum:"check,cash,creditcard,banktransfer,bankremittance,autotransaction,others" doc:"How it was paid; others if not given."`
	AccountID       string `json:"account_id,omitempty" pattern:"^[0-9]{1,30}$" doc:"Zoho Books' id of the account of the chart to which it goes; undeposited funds if not given."`
	Description     string `json:"description,omitempty" maxLength:"500" doc:"More about it."`
}

// RecordedPayment is what recording a payment leaves.
type RecordedPayment struct {
	PaymentID string `json:"payment_id" doc:"Zoho Books' id of the payment."`
	InvoiceID string `json:"invoice_id" doc:"Zoho Books' id of the invoice."`
	Amount    string `json:"amount" format:"decimal" doc:"In major units."`
}

func recordPayment() connectors.Action {
	return connectors.Do("payment.record", "Record payment", runRecordPayment, RecordPaymentInput{
		ReferenceNumber: "pi_3MtwBwLkdIwHu7ix28a3tqPa", InvoiceID: sampleInvoiceID, Amount: "49.00", Date: "2026-02-03", Mode: "creditcard",
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Records a payment of an invoice.", "payment"
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices, "account_id": offerDeposit}
		a.Help = "One that is there already with the reference number is used."
	})
}

func runRecordPayment(ctx context.Context, c connectors.Conn, in RecordPaymentInput) (RecordedPayment, error) {
	amount, err := parseNumber(in.Amount)
	if err != nil || amount.sign() <= 0 {
		return RecordedPayment{}, wrong("amount", "The amount must be a decimal above zero, such as 19.90.")
	}
	look := func(ctx context.Context, _ string) (ref connectors.Ref, there bool, err error) {
		err = each(ctx, c, "/customerpayments", url.Values{"reference_number": {in.ReferenceNumber}}, func(row payment) (bool, error) {
			x, err := fetchPayment(ctx, c, string(row.ID))
			if missing(err) {
				return false, nil
			} else if err != nil {
				return false, err
			}
			if x.Reference != in.ReferenceNumber {
				return false, nil
			}
			for _, of := range x.Invoices {
				there = there || string(of.InvoiceID) == in.InvoiceID
			}
			if there = there && x.Amount.cmp(amount) == 0; !there {
				return true, connectors.Errorf(connectors.Conflict, "a payment over %s has the reference number %s already, and may or may not be the one that was meant", x.Amount.text(), in.ReferenceNumber)
			}
			ref = x.ref()
			return true, nil
		}, "customerpayments", "customer_payments") // as it is, and as it is described
		if err != nil {
			err = fmt.Errorf("looking for the payment: %w", err)
		}
		return ref, there, err
	}
	ref, err := c.Effect(ctx, connectors.Append("payment", in.ReferenceNumber), look, func(ctx context.Context, key string) (connectors.Ref, error) {
		if ref, there, err := look(ctx, key); err != nil || there {
			ref.Adopted = true
			return ref, err
		}
		of, err := fetchInvoice(ctx, c, in.InvoiceID)
		if err != nil {
			return connectors.Ref{}, err
		}
		// The description wants invoice and amount at the top, too, which are then those of the one invoice.
		body := map[string]any{
			"customer_id": of.CustomerID, "payment_mode": cmp.Or(in.Mode, "others"), "amount": amount, "date": in.Date, "reference_number": in.ReferenceNumber,
			"invoices": []any{map[string]any{"invoice_id": in.InvoiceID, "amount_applied": amount}}, "invoice_id": in.InvoiceID, "amount_applied": amount,
		}
		given(body, "account_id", in.AccountID, "description", in.Description)
		var made struct {
			Payment payment `json:"payment"`
		}
		if err := call(ctx, c, request{http.MethodPost, "/customerpayments", nil, body, &made}); err != nil {
			return connectors.Ref{}, err
		}
		if made.Payment.ID == "" {
			return connectors.Ref{}, garbled(http.StatusCreated, true)
		}
		return connectors.Ref{ID: string(made.Payment.ID), Name: in.ReferenceNumber}, nil
	})
	if err != nil {
		return RecordedPayment{}, fmt.Errorf("recording payment %s: %w", in.ReferenceNumber, err)
	}
	return RecordedPayment{ref.ID, in.InvoiceID, amount.text()}, nil
}
