import { Help, type Command, type Option } from 'commander';
import { AntiphonError } from '../shared/errors.ts';

/** What every command has alike: required options are marked in the help, a value that is refused is said with its option, and no command ends the process by itself. */
export function finishCommand(command: Command): void {
  command.exitOverride();
  command.configureHelp({
    optionDescription(option) {
      return `${Help.prototype.optionDescription.call(this, option)}${option.mandatory ? ' (required)' : ''}`;
    },
  });
  for (const option of command.options) nameInErrors(option);
  for (const inner of command.commands) finishCommand(inner);
}

function nameInErrors(option: Option): void {
  const { parseArg, long, flags } = option;
  if (parseArg === undefined) return;
  option.parseArg = <T>(value: string, previous: T): T => {
    try {
      return parseArg(value, previous);
    } catch (error) {
      throw error instanceof AntiphonError ? new AntiphonError(error.code, `${long ?? flags}: ${error.message}`, { cause: error }) : error;
    }
  };
}
