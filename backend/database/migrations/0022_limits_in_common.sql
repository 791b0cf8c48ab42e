-- Compatible from: 7

-- No table changes: limits that bind without being exceeded are told too, with what each data centre has free.
