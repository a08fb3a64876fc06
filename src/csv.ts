/** CSV as docker's command line and Actions write it, by the library that docker's Actions use. */
import { CsvError, parse } from 'csv-parse/sync';

/** A text that is no CSV. `message` says why and names the remedy; it holds nothing of the text. */
export class CsvProblem extends Error {
  constructor(cause: unknown) {
    super(
      'its double quotes do not match; enclose an item in one pair of them and double those inside it, or leave them out',
      { cause },
    );
    this.name = 'CsvProblem';
  }
}

/**
 * The records of a text, one a line, empty lines left out. A quote in the middle of a field is no quote of CSV and stays.
 * `quote: null`: no quote encloses anything. @throws CsvProblem
 */
export function parseRecords(text: string, quote: '"' | null = '"'): readonly (readonly string[])[] {
  try {
    return parse(text, { quote, relax_quotes: true, relax_column_count: true, skip_empty_lines: true });
  } catch (error) {
    throw error instanceof CsvError ? new CsvProblem(error) : error;
  }
}

/** The fields of one line such as `type=image,"name=a,b"`; none for an empty one. @throws CsvProblem */
export function parseFields(line: string): readonly string[] {
  return parseRecords(line).flat();
}

/** One line: fields that hold a comma, a quote or a line end are enclosed in quotes. */
export function joinFields(fields: readonly string[]): string {
  return fields
    .map((field) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field))
    .join(',');
}

/** `key=value` in two, both trimmed; a field without `=` is a key without a value. */
export function splitField(field: string): readonly [key: string, value: string] {
  const at = field.indexOf('=');
  return at < 0 ? [field.trim(), ''] : [field.slice(0, at).trim(), field.slice(at + 1).trim()];
}
