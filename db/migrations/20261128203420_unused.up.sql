-- What nothing reads or writes any more: buckets have taken the place of budgets and of the accounts' tat, and a mutation
-- with user errors gives up its claim. A process that is older than buckets cannot go on beside this; any other can.
DROP TABLE budgets;
ALTER TABLE vendor_accounts DROP COLUMN tat;
ALTER TABLE claims DROP COLUMN user_errors;
