/** Lists as docker/build-push-action and docker/bake-action read them: CSV, any number of items a line. */
import { parseRecords } from '../../csv.ts';

/** How one input's list is written; what is left out is as in most inputs. */
export interface ListForm {
  /** `separate` items as lines do (the default), or `belong` to the value. */
  readonly commas?: 'separate' | 'belong';
  /** `enclose` an item with commas or lines in it (the default), or `belong` to the value. */
  readonly quotes?: 'enclose' | 'belong';
  /** Around an item: `trim` (the default) or `keep`. */
  readonly whiteSpace?: 'trim' | 'keep';
}

/**
 * The items of a list, empty ones left out.
 * Rules: actions-toolkit 0.92, Util.getList. Unlike there, an item of white space alone is left out too.
 * @throws CsvProblem
 */
export function parseList(text: string, form: ListForm = {}): readonly string[] {
  // Lines end as they like, each its own way.
  const lines = form.whiteSpace === 'keep' ? text : text.replaceAll('\r\n', '\n');
  const records = parseRecords(lines, form.quotes === 'belong' ? null : '"');
  const items =
    form.commas === 'belong'
      ? records.map((record) => record.join(','))
      : // One field alone is split once more: quotes protect a comma only beside other fields.
        records.flatMap((record) => (record.length === 1 ? (record[0] ?? '').split(',') : record));
  return items
    .map((item) => (form.whiteSpace === 'keep' ? item : item.trim()))
    .filter((item) => item.trim() !== '');
}
