// What the AsyncAPI initiative's own parser says of the document on standard input, one finding a line.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const { document, diagnostics } = await new Parser().parse(readFileSync(0, 'utf8'));
for (const found of diagnostics) {
  console.log(`${found.code} at ${found.path.join('.')}: ${found.message}`);
}
if (document === undefined) {
  console.log('this is no AsyncAPI document');
}
