"""Errors as exceptions, by the kinds that the program has exit codes for."""


class LoraSlimWarning(UserWarning):
    """What you should know before you trust a result. `Report.warnings` has its code and its figures."""


class LoraSlimError(Exception):
    """A failure of lora-slim.

    Attributes:
        message: one sentence, with the path or the value at fault.
        hint: what to do about it, in the words of the command line, or None.
        kind: "usage", "bad-input", "io", "no", "failed-gate", "internal" or "interrupted".
        exit_code: what the program exits with: 2, 3, 4, 5, 6, 70 or 130.
        report: the `Report`, if the adapter was evaluated, else None.
    """

    def __init__(self, message, *, kind, exit_code, hint=None, report=None):
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.message = message
        self.kind = kind
        self.exit_code = exit_code
        self.hint = hint
        self.report = report

    def __reduce__(self):
        return _rebuilt, (type(self), self.message, self.kind, self.exit_code, self.hint, self.report)


class UsageError(LoraSlimError, ValueError):
    """The options ask for something impossible."""


class BadInputError(LoraSlimError, ValueError):
    """An input is wrong and will stay wrong."""


class ReadWriteError(LoraSlimError, OSError):
    """Reading or writing failed; the same call may work later."""


class RefusedError(LoraSlimError):
    """The adapter does not help on these samples: there is nothing to write."""


class GateError(LoraSlimError):
    """A gate failed: nothing was written."""


class ProgramError(LoraSlimError, RuntimeError):
    """A bug in lora-slim."""


class InterruptedCallError(LoraSlimError):
    """The call was stopped by a Ctrl-C during another one. The call of the main thread raises KeyboardInterrupt."""


_BY_KIND = {
    "usage": UsageError,
    "bad-input": BadInputError,
    "io": ReadWriteError,
    "no": RefusedError,
    "failed-gate": GateError,
    "internal": ProgramError,
    "interrupted": InterruptedCallError,
}


def of_parts(parts, report=None):
    """The exception for what the native module says of an error."""
    kind, exit_code, message, hint = parts
    return _BY_KIND[kind](message, kind=kind, exit_code=exit_code, hint=hint, report=report)


def usage(message, hint=None):
    return UsageError(message, kind="usage", exit_code=2, hint=hint)


def _rebuilt(kind_of_error, message, kind, exit_code, hint, report):
    return kind_of_error(message, kind=kind, exit_code=exit_code, hint=hint, report=report)
