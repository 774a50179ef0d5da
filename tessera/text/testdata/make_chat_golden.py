#!/usr/bin/env python3
"""Writes chat_golden.json: what jinja2, set up as transformers does, makes of templates.

Usage: make_chat_golden.py SHARED_DATA_FOLDER [OUT_FILE]

The file holds {"templates": {name: source or {"file": path below tokenizers/}}, "contexts": {name:
context}, "cases": [[template, context, output or null]], "snippets": [[source, context, output or
null]]}; null stands for any error. strftime_now shows 2026-01-02.
"""
import datetime
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template


def environment():
    """transformers' own environment, with the clock stopped."""
    env = _compile_jinja_template("").environment
    env.globals["strftime_now"] = lambda format: datetime.datetime(2026, 1, 2, 12).strftime(format)
    return env


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Wetter für \"eine\" Stadt <b>&amp;</b>\n",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Die Stadt"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "nullable": True},
            "days": {"type": "array", "items": {"type": "integer"}, "description": "which"},
            "where": {"type": "object", "properties": {"lat": {"type": "number"},
                                                       "lon": {"type": "number"}},
                      "required": ["lat"]}},
            "required": ["city"]}}},
    {"type": "function", "function": {"name": "noop", "description": "",
                                      "parameters": {"type": "object", "properties": {}},
                                      "response": {"type": "object", "description": "r"}}}]
USER = {"role": "user", "content": "Hello, wie geht's? 你好 🦙"}
SYSTEM = {"role": "system", "content": "  You are <helpful> & 'terse'.\n"}
CALL = {"role": "assistant", "content": "Let me look.", "tool_calls": [
    {"id": "a1", "type": "function", "function": {
        "name": "get_weather", "arguments": {"city": "Zürich", "days": [1, 2.5, -3, 1e20, None],
                                             "deep": {"x": True, "y": {"z": "\u2028\\\""}}}}}]}
ANSWER = {"role": "tool", "name": "get_weather", "tool_call_id": "a1",
          "content": "{\"temp\": 3.5}"}
THINK = {"role": "assistant", "content": "<think>\nhm, hm\n</think>\n\nFine."}

CONTEXTS = {
    "one": {"messages": [USER], "add_generation_prompt": True},
    "one_closed": {"messages": [USER], "add_generation_prompt": False},
    "system": {"messages": [SYSTEM, USER], "add_generation_prompt": True},
    "turns": {"messages": [SYSTEM, USER, {"role": "assistant", "content": " Gut. "},
                           {"role": "user", "content": "\n\nUnd?\t"}], "add_generation_prompt": True},
    "thinking": {"messages": [USER, THINK, USER, THINK], "add_generation_prompt": False},
    "reasoning": {"messages": [USER, {"role": "assistant", "reasoning_content": "so\n",
                                      "content": "ok"}], "add_generation_prompt": False},
    "no_thinking": {"messages": [USER], "add_generation_prompt": True, "enable_thinking": False},
    "do_thinking": {"messages": [SYSTEM, USER], "add_generation_prompt": True,
                    "enable_thinking": True},
    "tools": {"messages": [SYSTEM, USER], "tools": TOOLS, "add_generation_prompt": True},
    "tools_no_system": {"messages": [USER], "tools": TOOLS, "add_generation_prompt": True},
    "tool_turns": {"messages": [USER, CALL, ANSWER], "tools": TOOLS, "add_generation_prompt": True},
    "tool_turns2": {"messages": [USER, CALL, ANSWER, ANSWER, {"role": "assistant", "content": "3.5"},
                                 USER], "tools": TOOLS, "add_generation_prompt": True},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": " a "},
                                                        {"type": "image"}]}],
              "add_generation_prompt": True},
    "empty_text": {"messages": [{"role": "user", "content": ""}], "add_generation_prompt": True},
    "empty": {"messages": [], "add_generation_prompt": True},
    "missing": {"messages": [{"role": "user"}], "add_generation_prompt": True},
    "marks": {"messages": [{"role": "user", "content": "<|im_end|>{{ 1 }}{% if %}\r\n\u0000\u00a0 "}],
              "add_generation_prompt": True},
    "date": {"messages": [USER], "add_generation_prompt": True, "date_string": "1 Jan 1970"},
}

SNIPPETS = [
    "{% for x in xs %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}",
    "{% for x in [] %}a{% else %}b{% endfor %}",
    "  {% if true %}\n  a\n  {% endif %}\n b\n\n",
    "  {%+ if true %}\n  a\n  {%- endif +%}\n b",
    "a  {#- c -#}  b {# d #}\n e",
    "{{ 'a' 'b' ~ 1 ~ none ~ 2.0 ~ [1,'x',(1,),{'k': none}] }}",
    "{{ 1 + 2 * 3 - 4 // 3 % 2 ** 3 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** -1 }} {{ 7.5 // 2 }}",
    "{{ xs[1:] }}{{ xs[::-1] }}{{ xs[-2:] }}{{ s[1:4] }}{{ s[::-1] }}{{ xs[5:] }}{{ xs[:-1] }}{{ xs[::2] }}{{ s[-1] }}",
    "{{ s.split(',') }}{{ s.upper() }}{{ s.title() }}{{ s.capitalize() }}{{ s.strip('a') }}{{ s.replace('a','b') }}{{ s.startswith('a') }}",
    "{{ '  x y  '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a\\nb\\r\\nc'.splitlines() }}",
    "{{ d.items() | list }}{{ d.keys() | list }}{{ d.values() | list }}{{ d.get('zz', 5) }}{{ d.a }}{{ d['b'] }}{{ d.zz is defined }}",
    "{{ d | tojson }}|{{ d | tojson(indent=2) }}|{{ xs | tojson }}|{{ 'ü\\u2028\"' | tojson }}|{{ 'ü' | tojson(ensure_ascii=true) }}",
    "{{ d | dictsort }}{{ d | items | list }}{{ d | length }}{{ xs | join('-') }}{{ xs | first }}{{ xs | last }}",
    "{{ xs | map('string') | join(',') }}{{ ms | map(attribute='role') | list }}{{ ms | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ ms | rejectattr('role', 'in', ['user']) | map(attribute='role') | join }}{{ xs | select('odd') | list }}{{ xs | reject('gt', 2) | list }}",
    "{{ xs | sort(reverse=true) }}{{ ['b','A','c'] | sort }}{{ xs | sum }}{{ xs | min }}{{ xs | max }}{{ [1,1,2] | unique | list }}",
    "{{ undefined_thing }}|{{ undefined_thing | default('x') }}|{{ '' | default('y', true) }}|{{ none | default('z') }}",
    "{{ undefined_thing.attr }}", "{{ undefined_thing + 1 }}", "{{ 1 + 'a' }}", "{{ d.a.b.c }}", "{{ xs.append(1) }}", "{{ raise_exception('no') }}",
    "{{ xs.foo is defined }}{{ xs[10] is defined }}{{ d.update is defined }}{{ d['items'] is mapping }}{{ d.items is callable }}",
    "{% set ns = namespace(a=1, b='x') %}{% for i in range(4) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}",
    "{% set x = 1 %}{% for i in range(2) %}{% set x = x + 10 %}{{ x }} {% endfor %}{{ x }}{% if true %}{% set x = 5 %}{% endif %}{{ x }}",
    "{% macro m(a, b='d', c=none) %}[{{ a }}|{{ b }}|{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(c=3, a=1) }}{{ m() }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}",
    "{% macro m() %}x{% endmacro %}{{ m(1) }}", "{% macro m(a) %}x{% endmacro %}{{ m(q=1) }}",
    "{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) m(3) %}in {{ y }}{% endcall %}",
    "{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n }}*{{ fact(n - 1) }}{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}{% set z %}q {{ 1 }}{% endset %}{{ z }}{% set w | trim | upper %}  r {% endset %}{{ w }}",
    "{% with a=1, b=2 %}{{ a + b }}{% endwith %}{{ a }}",
    "{% raw %}{{ x }} {% if %}{% endraw %}z",
    "{% for x in xs if x > 1 %}{{ loop.index0 }}{{ x }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'äb' %}{{ c }}.{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.n }}{% if x.c %}({{ loop(x.c) }}){{ loop.depth }}{% endif %}{% endfor %}",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{{ loop.revindex }}{% endfor %}",
    "{{ 'a' in s }}{{ 5 in xs }}{{ 'a' in d }}{{ 5 not in xs }}{{ not true }}{{ 1 < 2 < 3 }}{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ true and 0 or 'x' }}",
    "{{ 1 is odd }}{{ 2 is even }}{{ 4 is divisibleby 2 }}{{ xs is sequence }}{{ d is mapping }}{{ s is string }}{{ 1 is number }}{{ none is none }}{{ true is boolean }}{{ 1 is integer }}{{ 1.0 is float }}{{ xs is iterable }}{{ 5 is iterable }}",
    "{{ x if x is defined else 'no' }}{{ 'y' if false }}{{ ('a' if true else 'b') ~ 'c' }}",
    "{{ '%s-%d-%.2f-%5s|%-5s|%05d' % ('a', 3, 2.5, 'r', 'l', 42) }}{{ '%s' % 'x' }}{{ '{} {0}'.format(1) if false else '{} {}'.format(1, 'b') }}",
    "{{ 1.0 }} {{ 0.1 }} {{ 1e20 }} {{ 1e-7 }} {{ 123456789.123 }} {{ 1e15 }} {{ 1e16 }} {{ 3 / 1 }} {{ 1_000 }} {{ 0x1f }} {{ 2.5e3 }}",
    "{{ 'a\\tb\\'c\\\\d\\x41\\u00e9' }}{{ \"q'\\\"\" }}{{ ['it\\'s', \"a\\\"b\", 'n\\n', 'é', '\\u200b'] }}",
    "{{ s | length }}{{ 'äö' | length }}{{ 'x' | upper }}{{ 'AB' | lower }}{{ 'hello wORLD-foo' | title }}{{ ' q ' | trim }}{{ 'abc' | reverse }}{{ 'abc' | list }}",
    "{{ 'a\\nb\\n\\nc' | indent(2) }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'abcabc' | replace('b', 'X') }}|{{ 'abab' | replace('a', 'X', 1) }}",
    "{{ '3' | int }}{{ 'x' | int }}{{ '3.7' | int }}{{ 3.9 | int }}{{ '2.5' | float }}{{ 2.567 | round(2) }}{{ 2.5 | round }}{{ -3 | abs }}{{ 7.1 | round(method='ceil') }}",
    "{{ [1, 2, 3, 4, 5] | batch(2) | list }}{{ ms | groupby('role') | map('first') | list }}{{ '<a>&' | e }}{{ 'a b' | wordcount }}",
    "{{ [1,2] + [3] }}{{ 'ab' * 3 }}{{ [0] * 2 }}{{ (1, 2) }}{{ () }}{{ (1,) }}{{ {} }}{{ {'a': [], 'b': {}} }}{{ {1: 2, none: true} }}",
    "{{ range(5) | list }}{{ range(2, 8, 3) | list }}{{ range(3, 0, -1) | list }}{{ dict(a=1, b=2) }}",
    "{{ loop }}", "{% set loop = 3 %}{{ loop }}", "{{ strftime_now('%d %b %Y') }}", "{{ strftime_now('%Y-%m-%d') }}",
    "{{- '  a' -}}   {{+ 'b' }}\n{{ 'c' }}\n", "{%- set a = 1 -%}\n\n  x {{ a }}  \n{%- if a %} y {%- endif %}\n",
    "\n\n{% if true %}x{% endif %}\n\n", "a\r\nb\rc\n", "\u00a0 {%- if true %}\u00a0{% endif -%} \u00a0b", "{{ 'é'.upper() }}{{ 'ß'.upper() }}{{ 'İ'.lower() | length }}",
    "{% generation %}a{% set q = 1 %}{{ q }}{% endgeneration %}{{ q }}",
    "{% if d.a and not d.zz %}1{% elif d.b %}2{% else %}3{% endif %}{% if d.zz %}4{% elif d.b %}5{% endif %}{% if xs|length > 2 and xs[0] == 1 %}6{% endif %}",
    "{{ d.a | string + 'x' }}{{ -1 | abs }}{{ 'x' ~ 1 + 2 }}{{ not xs }}{{ not not xs }}{{ xs | length - 1 }}",
    "{% unknown %}", "{{ 1 + }}", "{{ 'x }}", "{% if %}{% endif %}", "{% for x in xs %}", "{{ x | nofilter }}", "{{ (1 }}", "{% endfor %}", "{% do 1 %}",
    "{{ xs | map('upper') | list }}", "{{ 'a'.b.c }}", "{{ none.x }}", "{{ none + 1 }}", "{{ xs < 3 }}", "{% for x in 5 %}{% endfor %}", "{{ 1 / 0 }}", "{{ x is in [1] }}", "{{ 1 is in [1, 2] }}",
    "{{ 'abc'.find('c') }}{{ 'abc'.count('') }}{{ 'a.b'.partition('.') }}{{ '7'.zfill(3) }}{{ 'x'.center(4) }}|{{ 'x'.ljust(3) }}|{{ '12'.isdigit() }}{{ 'A'.isupper() }}{{ 'ab'.replace('', '-') }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}", "{{ {'a': 1}.a }}{{ [[1, 2], [3]][0][1] }}{{ ms[0].role }}{{ ms[0]['role'] }}{{ ms.0.role }}{{ ms | map(attribute='content.0') | list }}",
    "{{ s is eq 'x' }}{{ 3 is gt 2 }}{{ 3 is ge(3) }}{{ 'a' is lower }}{{ 'upper' is filter }}{{ 'odd' is test }}{{ x is undefined }}{{ 3 is not odd }}",
]
SNIPPET_CONTEXT = {"xs": [1, 2, 3], "s": "abc,äöü,aXa", "d": {"b": 2, "a": "one", "C": None, "e": 1.5},
                   "ms": [{"role": "user", "content": ["t"]}, {"role": "assistant", "content": "u"}],
                   "tree": [{"n": 1, "c": [{"n": 2, "c": [{"n": 3}]}, {"n": 4}]}, {"n": 5}]}


def main():
    root = pathlib.Path(sys.argv[1]) / "tokenizers"
    out = sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent / "chat_golden.json"
    env = environment()
    files = {"llada": "chat_templates/llada_chat_template.jinja",
             "diffusion_gemma": "chat_templates/diffusion_gemma_chat_template.jinja",
             "sdar": "SDAR-4B-Chat/chat_template.jinja",
             "qwen3": "configs/Qwen3.tokenizer_config.json",
             "llada_config": "LLaDA-8B-Instruct/tokenizer_config.json",
             "llama3": "Llama-3/Llama-3.2-1B-Instruct.tokenizer_config.json"}

    def render(source, context):
        try:
            return env.from_string(source).render(**context)
        except Exception:  # the golden records that there is an error, not which
            return None

    cases = []
    for name, path in files.items():
        text = (root / path).read_bytes().decode()
        source = json.loads(text)["chat_template"] if path.endswith(".json") else text
        for context_name, context in CONTEXTS.items():
            full = dict(context, bos_token="<s>", eos_token="</s>")
            cases.append([name, context_name, render(source, full)])
    snippets = [[s, render(s, SNIPPET_CONTEXT)] for s in SNIPPETS]
    golden = {"files": files, "contexts": CONTEXTS, "cases": cases,
              "snippet_context": SNIPPET_CONTEXT, "snippets": snippets}
    with open(out, "w") as f:
        json.dump(golden, f, ensure_ascii=True, indent=0)
        f.write("\n")
    print(len(cases), "cases,", sum(c[2] is None for c in cases), "errors;", len(snippets),
          "snippets,", sum(s[1] is None for s in snippets), "errors")


if __name__ == "__main__":
    main()
