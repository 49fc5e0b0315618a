package togai

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"tieline/connectors"
)

// payment as GET answers it: the reference has another name than in the request.
type payment struct {
	ID          string           `json:"id"`
	AccountID   string           `json:"accountId"`
	Reference   paymentReference `json:"externalPaymentReferences"`
	Lines       []paymentLine    `json:"lineItemRecords"`
	TotalAmount number           `json:"totalAmount"`
	Currency    string           `json:"currency"`
	CreatedAt   time.Time        `json:"createdAt"`
}

type paymentReference struct {
	SourceName        string         `json:"sourceName"`
	SourceType        string         `json:"sourceType"`
	TransactionNumber string         `json:"transactionNumber"`
	Metadata          map[string]any `json:"metadata,omitempty"`
}

type paymentLine struct {
	Type    string `json:"type"`
	TogaiID string `json:"togaiId,omitempty"`
	Amount  number `json:"amount"`
	Order   int    `json:"order"`
}

// newPayment is the body of POST /payments.
type newPayment struct {
	AccountID   string           `json:"accountId"`
	Currency    string           `json:"currency"`
	TotalAmount number           `json:"totalAmount"`
	Reference   paymentReference `json:"externalPaymentReference"`
	Lines       []paymentLine    `json:"lineItemRecords"`
	Notes       string           `json:"notes,omitempty"`
}

// PaymentSource says where a payment was made.
type PaymentSource struct {
	TransactionNumber string `json:"transaction_number" minLength:"1" maxLength:"255" doc:"The payment's id where it was made, such as Stripe's pi_…. It tells this payment from others: the same number is recorded once."`
	Source            string `json:"source,omitempty" maxLength:"255" doc:"Where it was made; Stripe if not given."`
	SourceType        string `json:"source_type,omitempty" enum:"GATEWAY,CASH,CHEQUE,BANK_TRANSFER,CARD" doc:"How; GATEWAY if not given."`
	Notes             string `json:"notes,omitempty" maxLength:"512" doc:"Shown with the payment."`
}

// RecordPaymentInput is a payment of an invoice.
type RecordPaymentInput struct {
	InvoiceID string `json:"invoice_id" minLength:"1" maxLength:"50" doc:"Togai's id of the invoice that was paid."`
	AccountID string `json:"account_id,omitempty" maxLength:"512" doc:"The invoice's account; read from the invoice if not given."`
	Amount    string `json:"amount,omitempty" format:"decimal" doc:"In major units; what is open of the invoice if not given."`
	Currency  string `json:"currency,omitempty" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217; the invoice's if not given. Another than the invoice's is refused."`
	PaymentSource
}

// RecordedPayment is what recording a payment leaves.
type RecordedPayment struct {
	PaymentID string `json:"payment_id" doc:"Togai's id of the payment; empty when the invoice was paid already, without this payment."`
	InvoiceID string `json:"invoice_id" doc:"The invoice; empty for a wallet."`
	Recorded  bool   `json:"recorded" doc:"False when it was there already, or the invoice was paid already."`
}

func recordPayment() connectors.Action {
	return connectors.Do("payment.record", "Record payment", runRecordPayment, RecordPaymentInput{
		InvoiceID: sampleInvoice.ID, Amount: "49.00", Currency: "USD", PaymentSource: PaymentSource{TransactionNumber: "pi_3MtwBwLkdIwHu7ix28a3tqPa"},
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Records that an invoice was paid elsewhere, which makes it paid in Togai.", "payment"
		a.Options = map[string]connectors.Offer{"invoice_id": offerInvoices, "account_id": offerAccounts}
		a.Help = "Togai takes the same payment twice, so the account's payments are searched for the transaction number first. An invoice that is paid already is left as it is."
	})
}

func runRecordPayment(ctx context.Context, c connectors.Conn, in RecordPaymentInput) (RecordedPayment, error) {
	ref, err := pay(ctx, c, connectors.Append("payment", in.occurrence()), in.Amount != "", func(ctx context.Context) (newPayment, bool, error) { return in.wire(ctx, c) })
	if err != nil {
		return RecordedPayment{}, fmt.Errorf("recording payment %s of invoice %s: %w", in.TransactionNumber, in.InvoiceID, err)
	}
	return RecordedPayment{PaymentID: ref.ID, InvoiceID: in.InvoiceID, Recorded: !ref.Adopted}, nil
}

// wire goes by the invoice as it is now: the run may have waited. settled says that there is nothing to pay any more.
func (in RecordPaymentInput) wire(ctx context.Context, c connectors.Conn) (body newPayment, settled bool, err error) {
	inv, err := fetchInvoice(ctx, c, in.InvoiceID)
	if err != nil {
		return body, false, err
	}
	now := inv.plain()
	body = newPayment{AccountID: cmp.Or(in.AccountID, now.AccountID), Currency: upper(cmp.Or(in.Currency, now.Currency)), Notes: in.Notes, Reference: in.reference()}
	amount := inv.TotalAmount.minus(inv.PaidAmount)
	switch {
	case body.AccountID == "":
		return body, false, wrong("account_id", "Invoice "+inv.ID+" is a group's: name the account that paid.")
	case in.Currency != "" && now.Currency != "" && body.Currency != now.Currency:
		return body, false, wrong("currency", "Invoice "+inv.ID+" is in "+now.Currency+", the payment in "+body.Currency+".")
	case in.Amount != "":
		if amount, err = positive("amount", in.Amount); err != nil {
			return body, false, err
		}
	}
	body.TotalAmount, body.Lines = amount, []paymentLine{{"INVOICE", inv.ID, amount, 1}}
	return body, slices.Contains([]string{"PAID", "REFUND_INITIATED", "REFUND_COMPLETED"}, inv.Status), nil
}

func (in PaymentSource) reference() paymentReference {
	return paymentReference{SourceName: cmp.Or(in.Source, "Stripe"), SourceType: cmp.Or(in.SourceType, "GATEWAY"), TransactionNumber: in.TransactionNumber}
}

// occurrence names the payment over all sources.
func (in PaymentSource) occurrence() string {
	return in.reference().SourceName + ":" + in.TransactionNumber
}

// pay records a payment once. Togai has no key for it and no search by reference, so the account's payments are read
// before each write, and again when an answer was lost. firm says that the amount is the payment's own, and not what was
// open of an invoice. body is asked anew each time, and says whether there is anything to pay still.
func pay(ctx context.Context, c connectors.Conn, intent connectors.Intent, firm bool, body func(context.Context) (newPayment, bool, error)) (connectors.Ref, error) {
	return c.Effect(ctx, intent, func(ctx context.Context, key string) (connectors.Ref, bool, error) {
		b, _, err := body(ctx)
		if err != nil {
			return connectors.Ref{}, false, err
		}
		return b.look(ctx, c, key, firm)
	}, func(ctx context.Context, key string) (connectors.Ref, error) {
		b, settled, err := body(ctx)
		if err != nil {
			return connectors.Ref{}, err
		}
		if ref, there, err := b.look(ctx, c, key, firm); there || err != nil {
			return ref, err
		}
		if settled {
			return connectors.Ref{Adopted: true}, nil
		}
		b.Reference.Metadata = map[string]any{metaEffect: key}
		var made payment
		if _, err := call(ctx, c, http.MethodPost, "/payments", b, &made); err != nil {
			return connectors.Ref{}, err
		}
		if made.ID == "" {
			return connectors.Ref{}, garbled(http.StatusCreated, true)
		}
		return connectors.Ref{ID: made.ID, Name: b.Reference.TransactionNumber}, nil
	})
}

// look finds the payment of this reference: that of this very effect by its mark, or the same payment recorded by
// another hand. One of the number over something else is for a person. The list may ignore the account, so each is looked at.
func (body newPayment) look(ctx context.Context, c connectors.Conn, key string, firm bool) (connectors.Ref, bool, error) {
	for p, err := range all[payment](ctx, c, "payments", ledgerPage, url.Values{"account_id": {body.AccountID}}) {
		if err != nil {
			return connectors.Ref{}, false, fmt.Errorf("looking for the payment: %w", err)
		}
		if p.AccountID != body.AccountID || p.Reference.TransactionNumber != body.Reference.TransactionNumber || p.Reference.SourceName != body.Reference.SourceName {
			continue
		}
		ref := connectors.Ref{ID: p.ID, Name: p.Reference.TransactionNumber, Adopted: p.Reference.Metadata[metaEffect] != key}
		if ref.Adopted && (p.Currency != body.Currency || firm && !p.TotalAmount.equal(body.TotalAmount) || !p.pays(body.Lines[0])) {
			return connectors.Ref{}, false, connectors.Errorf(connectors.Conflict, "payment %s has the transaction number %s, and is over %s %s for something else", p.ID, ref.Name, p.TotalAmount.text(), p.Currency)
		}
		return ref, true, nil
	}
	return connectors.Ref{}, false, nil
}

// pays says whether a payment is for what a line is for.
func (p payment) pays(l paymentLine) bool {
	return slices.ContainsFunc(p.Lines, func(o paymentLine) bool { return o.Type == l.Type && o.TogaiID == l.TogaiID })
}

// CreditWalletInput is money that an account has in advance.
type CreditWalletInput struct {
	AccountID string `json:"account_id" minLength:"1" maxLength:"512" doc:"The account whose wallet it is."`
	Amount    string `json:"amount" format:"decimal" doc:"In major units."`
	Currency  string `json:"currency" pattern:"^[A-Za-z]{3}$" doc:"ISO 4217; the account's."`
	PaymentSource
}

func creditWallet() connectors.Action {
	return connectors.Do("wallet.credit", "Credit wallet", runCreditWallet, CreditWalletInput{
		AccountID: "acme", Amount: "100.00", Currency: "USD", PaymentSource: PaymentSource{TransactionNumber: "py_1MtwBwLkdIwHu7ixNmNIn4Vj"},
	}, func(a *connectors.Action) {
		a.Description, a.Entity = "Adds money that was paid elsewhere to an account's wallet.", "payment"
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
		a.Help = "It is recorded as a payment for the wallet, as Togai's own top-up has no reference by which it could be found again."
	})
}

func runCreditWallet(ctx context.Context, c connectors.Conn, in CreditWalletInput) (RecordedPayment, error) {
	amount, err := positive("amount", in.Amount)
	if err != nil {
		return RecordedPayment{}, err
	}
	body := newPayment{
		AccountID: in.AccountID, Currency: upper(in.Currency), TotalAmount: amount, Reference: in.reference(), Notes: in.Notes, Lines: []paymentLine{{"WALLET_CREDIT", "", amount, 1}},
	}
	ref, err := pay(ctx, c, connectors.Append("payment", "wallet:"+in.occurrence()), true, func(context.Context) (newPayment, bool, error) { return body, false, nil })
	if err != nil {
		return RecordedPayment{}, fmt.Errorf("crediting the wallet of account %s: %w", in.AccountID, err)
	}
	return RecordedPayment{PaymentID: ref.ID, Recorded: !ref.Adopted}, nil
}

// Payment is one as lists show it.
type Payment struct {
	PaymentID         string    `json:"payment_id" doc:"Togai's id of the payment."`
	AccountID         string    `json:"account_id" doc:"The account that paid."`
	Amount            string    `json:"amount" format:"decimal" doc:"In major units."`
	Currency          string    `json:"currency" doc:"ISO 4217."`
	Source            string    `json:"source" doc:"Where it was made."`
	TransactionNumber string    `json:"transaction_number" doc:"Its id there."`
	InvoiceIDs        []string  `json:"invoice_ids" doc:"The invoices it was for."`
	CreatedAt         time.Time `json:"created_at" doc:"When it was recorded."`
}

func (p payment) plain() Payment {
	x := Payment{p.ID, p.AccountID, p.TotalAmount.text(), p.Currency, p.Reference.SourceName, p.Reference.TransactionNumber, []string{}, p.CreatedAt}
	for _, l := range p.Lines {
		if l.Type == "INVOICE" {
			x.InvoiceIDs = append(x.InvoiceIDs, l.TogaiID)
		}
	}
	return x
}

// ListPaymentsInput narrows the list.
type ListPaymentsInput struct {
	AccountID string `json:"account_id,omitempty" doc:"Only payments of this account."`
	Limit     int    `json:"limit,omitempty" min:"1" max:"1000" doc:"How many at most; 100 if not given."`
}

// ListPaymentsOutput is what was listed, last made first.
type ListPaymentsOutput struct {
	Payments []Payment `json:"payments" doc:"Last recorded first."`
	Count    int       `json:"count" doc:"How many these are."`
	Complete bool      `json:"complete" doc:"False when the limit cut the list off."`
}

func listPayments() connectors.Action {
	return connectors.Do("payment.list", "List payments", func(ctx context.Context, c connectors.Conn, in ListPaymentsInput) (ListPaymentsOutput, error) {
		found, complete, err := upToOf[payment](ctx, c, "payments", ledgerPage, url.Values{"account_id": {in.AccountID}}, limit(in.Limit))
		if err != nil {
			return ListPaymentsOutput{}, fmt.Errorf("listing payments: %w", err)
		}
		out := ListPaymentsOutput{Payments: []Payment{}, Count: len(found), Complete: complete}
		for _, p := range found {
			out.Payments = append(out.Payments, p.plain())
		}
		return out, nil
	}, ListPaymentsInput{AccountID: "acme"}, func(a *connectors.Action) {
		a.Description, a.Entity, a.Reads = "Lists payments, last recorded first.", "payment", true
		a.Help = "Payments that credited a wallet are among them."
		a.Options = map[string]connectors.Offer{"account_id": offerAccounts}
	})
}
