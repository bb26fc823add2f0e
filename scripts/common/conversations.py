"""Conversations that show what chat templates do: each is what apply_chat_template is given."""

from typing import Any

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The weather at a "place" <now> & later, é 日本',
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A city"},
                "days": {"type": "integer", "enum": [1, 2, 3], "default": 1},
                "exact": {"type": ["boolean", "null"], "default": None},
                "where": {"type": "object", "properties": {"lat": {"type": "number", "minimum": -90.5}}},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["place"],
        },
        "return": {"type": "string"},
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {}}},
}

SYSTEM = {"role": "system", "content": "Be brief.\nAnd kind."}
USER = {"role": "user", "content": "Hi there "}
ASSISTANT = {"role": "assistant", "content": " Hello!\n"}
MORE = {"role": "user", "content": "What is 2+2? 'quoted' \"twice\" <b>&amp;</b>"}
FOUR = {"role": "assistant", "content": "4"}


def call(arguments: Any, name: str = "get_weather", **more: Any) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def message(role: str, content: Any = None, **more: Any) -> dict:
    return {"role": role, "content": content, **more}


ARGUMENTS = {
    "place": "Paris",
    "days": 2,
    "exact": None,
    "where": {"lat": 1e-07, "lon": 2.0},
    "tags": ["a", "é"],
    "on": True,
}
RESULT = {"role": "tool", "content": '{"sky": "blue"}', "name": "get_weather", "tool_call_id": "call_0001"}
DONE = {"role": "assistant", "content": "It is blue."}
THOUGHT = "Two and two\nmake four."

CONVERSATIONS: dict[str, dict] = {
    "user": {"messages": [USER]},
    "one turn": {"messages": [USER, ASSISTANT]},
    "system": {"messages": [SYSTEM, USER, ASSISTANT]},
    "turns": {"messages": [USER, ASSISTANT, MORE, FOUR]},
    "system and turns": {"messages": [SYSTEM, USER, ASSISTANT, MORE, FOUR, USER]},
    "tools": {"messages": [SYSTEM, USER, ASSISTANT], "tools": [WEATHER, CLOCK]},
    "no tools": {"messages": [USER, ASSISTANT], "tools": []},
    "tool call": {
        "messages": [
            SYSTEM,
            USER,
            message("assistant", "", tool_calls=[call(ARGUMENTS, id="call_0001")]),
            RESULT,
            DONE,
        ],
        "tools": [WEATHER, CLOCK],
    },
    "tool call without content": {
        "messages": [
            USER,
            message("assistant", None, tool_calls=[call(ARGUMENTS, id="abcdefghi")]),
            {**RESULT, "tool_call_id": "abcdefghi"},
        ],
        "tools": [WEATHER],
    },
    "tool call, arguments as text": {
        "messages": [
            USER,
            message("assistant", "", tool_calls=[call('{"place": "Paris"}', id="abcdefghi")]),
            {**RESULT, "tool_call_id": "abcdefghi"},
            DONE,
        ],
        "tools": [WEATHER],
    },
    "two tool calls": {
        "messages": [
            USER,
            message(
                "assistant",
                "Let me see.",
                tool_calls=[call({}, "clock", id="aaaaaaaaa"), call(ARGUMENTS, id="bbbbbbbbb")],
            ),
            {**RESULT, "content": "12:00", "name": "clock", "tool_call_id": "aaaaaaaaa"},
            {**RESULT, "tool_call_id": "bbbbbbbbb"},
            DONE,
            MORE,
            FOUR,
        ],
        "tools": [WEATHER, CLOCK],
    },
    "thinking and tool call": {
        "messages": [
            USER,
            message("assistant", None, reasoning_content=THOUGHT, tool_calls=[call(ARGUMENTS, id="abcdefghi")]),
            {**RESULT, "tool_call_id": "abcdefghi"},
            message("assistant", "It is blue.", reasoning_content="I know."),
        ],
        "tools": [WEATHER],
    },
    "nulls": {
        "messages": [
            message("user", "Hi", name=None, tool_calls=None),
            message("assistant", "Ho", tool_calls=None, function_call=None, reasoning_content=None),
        ]
    },
    "null content": {"messages": [USER, message("assistant", None)]},
    "thinking": {"messages": [USER, message("assistant", "4", thinking=THOUGHT), MORE, FOUR]},
    "reasoning": {"messages": [USER, ASSISTANT, MORE, message("assistant", "4", reasoning=THOUGHT)]},
    "reasoning content": {"messages": [SYSTEM, MORE, message("assistant", "4", reasoning_content=THOUGHT)]},
    "thinking in the text": {
        "messages": [MORE, message("assistant", f"<think>\n{THOUGHT}\n</think>\n\n4"), USER, ASSISTANT]
    },
    "thinking is off": {"messages": [MORE, FOUR], "kwargs": {"enable_thinking": False, "thinking": False}},
    "thinking is on": {"messages": [MORE, FOUR], "kwargs": {"enable_thinking": True, "reasoning_effort": "high"}},
    "documents": {
        "messages": [SYSTEM, USER, ASSISTANT],
        "documents": [{"title": "T1", "text": "One\ntwo."}, {"title": "T2", "text": "<b>", "id": 7}],
    },
    "content parts": {
        "messages": [
            message("system", [{"type": "text", "text": "Be brief."}]),
            message("user", [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]),
            message("assistant", [{"type": "text", "text": "Hello"}]),
        ]
    },
    "image": {
        "messages": [
            message("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}]),
            message("assistant", [{"type": "text", "text": "A cat"}]),
        ]
    },
    "starts with the assistant": {"messages": [ASSISTANT, USER]},
    "same role twice": {"messages": [USER, MORE, ASSISTANT, FOUR]},
    "other role": {"messages": [message("developer", "Be brief."), USER, message("ipython", "x"), ASSISTANT]},
    "empty": {"messages": [message("user", ""), message("assistant", "")]},
    "odd text": {
        "messages": [
            message("user", "a\r\nb\tc\u00a0\u2028d \U0001f600 e\u0301 {{ x }} {% y %}"),
            message("assistant", "  \n x \n\n"),
        ]
    },
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
"""The special tokens that every template is given."""
