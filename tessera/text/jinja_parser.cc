#include <algorithm>
#include <initializer_list>

#include "tessera/text/jinja_ast.h"
#include "tessera/text/jinja_lexer.h"

namespace tessera::text::jinja {
namespace {

constexpr int kMaxExprDepth = 200;
constexpr int kMaxBlockDepth = 64;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Block> Run() {
    TESSERA_ASSIGN_OR_RETURN(Block block, ParseBlock({}));
    return block;
  }

 private:
  using Kind = Token::Kind;
  using Names = std::initializer_list<std::string_view>;

  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  const Token& Take() { return tokens_[std::min(next_++, tokens_.size() - 1)]; }
  bool IsOp(std::string_view op, size_t ahead = 0) const {
    return Peek(ahead).kind == Kind::kOperator && Peek(ahead).text == op;
  }
  bool IsName(std::string_view name, size_t ahead = 0) const {
    return Peek(ahead).kind == Kind::kName && Peek(ahead).text == name;
  }
  bool SkipOp(std::string_view op) { return IsOp(op) && (++next_, true); }
  bool SkipName(std::string_view name) { return IsName(name) && (++next_, true); }

  Status Fail(std::string_view what) const {
    return InvalidArgument("template line {}: {}", Peek().line, what);
  }
  Status Unexpected(std::string_view wanted) const {
    static constexpr std::string_view kKinds[] = {"text",     "'{%'", "'%}'",     "'{{'",
                                                  "'}}'",     "",     "a string", "a number",
                                                  "a number", "",     "the end"};
    const auto& token = Peek();
    const std::string_view kind = kKinds[static_cast<size_t>(token.kind)];
    return Fail(fmt::format("expected {}, found {}", wanted,
                            kind.empty() ? fmt::format("'{}'", token.text) : std::string(kind)));
  }
  Status ExpectOp(std::string_view op) {
    return SkipOp(op) ? OkStatus() : Unexpected(fmt::format("'{}'", op));
  }
  Status ExpectBlockEnd() {
    if (Peek().kind != Kind::kBlockEnd) return Unexpected("'%}'");
    ++next_;
    return OkStatus();
  }
  Result<std::string> ExpectName() {
    if (Peek().kind != Kind::kName) return Unexpected("a name");
    return Take().text;
  }

  ExprPtr New(Expr::Kind kind, std::string name = {}) const {
    auto e = std::make_unique<Expr>();
    e->kind = kind;
    e->line = Peek().line;
    e->name = std::move(name);
    return e;
  }
  Result<ExprPtr> Sealed(ExprPtr e) const {
    int depth = 0;
    const auto look = [&](const ExprPtr& child) {
      if (child) depth = std::max(depth, child->depth);
    };
    for (const auto& child : e->children) look(child);
    for (const auto& [name, child] : e->keywords) look(child);
    look(e->star), look(e->double_star);
    e->depth = depth + 1;
    if (e->depth > kMaxExprDepth) {
      return ResourceExhausted("template line {}: expression nests deeper than {}", e->line,
                               kMaxExprDepth);
    }
    return e;
  }
  Result<ExprPtr> Make(Expr::Kind kind, std::string name, ExprPtr a, ExprPtr b = nullptr) const {
    ExprPtr e = New(kind, std::move(name));
    e->children.push_back(std::move(a));
    if (b) e->children.push_back(std::move(b));
    return Sealed(std::move(e));
  }

  Result<Block> ParseBlock(Names ends);
  Result<StmtPtr> ParseStatement(const std::string& tag, StmtPtr s);
  Status ParseFor(Stmt* s);
  Status ParseIf(Stmt* s);
  Status ParseSet(Stmt* s);
  Status ParseParameters(Stmt* s);
  Status ParseBodyUntil(std::string_view end, Block* body);
  Result<ExprPtr> ParseTarget(bool with_tuple);

  Result<ExprPtr> ParseTuple(bool with_condition = true, bool parenthesised = false);
  Result<ExprPtr> ParseExpression(bool with_condition = true);
  Result<ExprPtr> ParseOr();
  Result<ExprPtr> ParseAnd();
  Result<ExprPtr> ParseNot();
  Result<ExprPtr> ParseCompare();
  Result<ExprPtr> ParseSum();
  Result<ExprPtr> ParseConcat();
  Result<ExprPtr> ParseProduct();
  Result<ExprPtr> ParsePower();
  Result<ExprPtr> ParseUnary(bool with_filter = true);
  Result<ExprPtr> ParsePrimary();
  Result<ExprPtr> ParsePostfix(ExprPtr e);
  Result<ExprPtr> ParseFilters(ExprPtr e, bool start_inline = false);
  Result<ExprPtr> ParseTest(ExprPtr e);
  Result<ExprPtr> ParseSubscript(ExprPtr e);
  Status ParseArguments(Expr* call);

  std::vector<Token> tokens_;
  size_t next_ = 0;
  int block_depth_ = 0;
  int expr_depth_ = 0;
  bool uses_varargs_ = false, uses_kwargs_ = false, uses_caller_ = false;
  std::string ended_by_;  // the tag that closed the last block
};

Result<Block> Parser::ParseBlock(Names ends) {
  if (++block_depth_ > kMaxBlockDepth) {
    return ResourceExhausted("template line {}: blocks nest deeper than {}", Peek().line,
                             kMaxBlockDepth);
  }
  Block block;
  for (;;) {
    const Token& token = Peek();
    auto s = std::make_unique<Stmt>();
    s->line = token.line;
    if (token.kind == Kind::kText) {
      s->text = Take().text;
      block.push_back(std::move(s));
    } else if (token.kind == Kind::kPrintBegin) {
      ++next_;
      s->kind = Stmt::Kind::kPrint;
      TESSERA_ASSIGN_OR_RETURN(s->value, ParseTuple());
      if (Peek().kind != Kind::kPrintEnd) return Unexpected("'}}'");
      ++next_;
      block.push_back(std::move(s));
    } else if (token.kind == Kind::kBlockBegin) {
      ++next_;
      TESSERA_ASSIGN_OR_RETURN(const std::string tag, ExpectName());
      if (std::find(ends.begin(), ends.end(), tag) != ends.end()) {
        ended_by_ = tag;
        --block_depth_;
        return block;
      }
      TESSERA_ASSIGN_OR_RETURN(s, ParseStatement(tag, std::move(s)));
      block.push_back(std::move(s));
    } else if (token.kind == Kind::kEnd) {
      if (ends.size() != 0) {
        return Fail(fmt::format("the template ends where '{}' is expected", *(ends.end() - 1)));
      }
      --block_depth_;
      return block;
    } else {
      return Unexpected("text or a tag");
    }
  }
}

Status Parser::ParseBodyUntil(std::string_view end, Block* body) {
  TESSERA_RETURN_IF_ERROR(ExpectBlockEnd());
  TESSERA_ASSIGN_OR_RETURN(*body, ParseBlock({end}));
  return ExpectBlockEnd();
}

Result<StmtPtr> Parser::ParseStatement(const std::string& tag, StmtPtr s) {
  if (tag == "if") {
    TESSERA_RETURN_IF_ERROR(ParseIf(s.get()));
  } else if (tag == "for") {
    TESSERA_RETURN_IF_ERROR(ParseFor(s.get()));
  } else if (tag == "set") {
    TESSERA_RETURN_IF_ERROR(ParseSet(s.get()));
  } else if (tag == "macro" || tag == "call") {
    const bool macro = tag == "macro";
    s->kind = macro ? Stmt::Kind::kMacro : Stmt::Kind::kCallBlock;
    if (macro) {
      TESSERA_ASSIGN_OR_RETURN(s->text, ExpectName());
    }
    if (macro || IsOp("(")) TESSERA_RETURN_IF_ERROR(ParseParameters(s.get()));
    if (!macro) {
      TESSERA_ASSIGN_OR_RETURN(s->value, ParseExpression());
      if (s->value->kind != Expr::Kind::kCall) return Fail("expected a call");
    }
    const bool varargs = uses_varargs_, kwargs = uses_kwargs_, caller = uses_caller_;
    uses_varargs_ = uses_kwargs_ = uses_caller_ = false;
    TESSERA_RETURN_IF_ERROR(ParseBodyUntil(macro ? "endmacro" : "endcall", &s->body));
    s->uses_varargs = uses_varargs_, s->uses_kwargs = uses_kwargs_, s->uses_caller = uses_caller_;
    uses_varargs_ = varargs, uses_kwargs_ = kwargs, uses_caller_ = caller;
  } else if (tag == "filter") {
    s->kind = Stmt::Kind::kFilterBlock;
    TESSERA_ASSIGN_OR_RETURN(s->value, ParseFilters(New(Expr::Kind::kBody), true));
    TESSERA_RETURN_IF_ERROR(ParseBodyUntil("endfilter", &s->body));
  } else if (tag == "with") {
    s->kind = Stmt::Kind::kWith;
    while (Peek().kind != Kind::kBlockEnd) {
      if (!s->bindings.empty()) TESSERA_RETURN_IF_ERROR(ExpectOp(","));
      TESSERA_ASSIGN_OR_RETURN(ExprPtr target, ParseTarget(true));
      TESSERA_RETURN_IF_ERROR(ExpectOp("="));
      TESSERA_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
      s->bindings.emplace_back(std::move(target), std::move(value));
    }
    TESSERA_RETURN_IF_ERROR(ParseBodyUntil("endwith", &s->body));
  } else if (tag == "generation") {
    s->kind = Stmt::Kind::kScope;
    TESSERA_RETURN_IF_ERROR(ParseBodyUntil("endgeneration", &s->body));
  } else if (tag == "print") {
    s->kind = Stmt::Kind::kPrint;
    TESSERA_ASSIGN_OR_RETURN(s->value, ParseTuple());
    TESSERA_RETURN_IF_ERROR(ExpectBlockEnd());
  } else if (tag == "break" || tag == "continue") {
    s->kind = tag == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue;
    TESSERA_RETURN_IF_ERROR(ExpectBlockEnd());
  } else {
    return Fail(fmt::format(
        "tag '{}' is not known here; known: if, for, set, macro, call, filter, with, raw, print, "
        "generation, break, continue",
        tag));
  }
  return s;
}

Status Parser::ParseIf(Stmt* s) {
  s->kind = Stmt::Kind::kIf;
  for (;;) {
    TESSERA_ASSIGN_OR_RETURN(ExprPtr condition, ParseTuple(false));
    TESSERA_RETURN_IF_ERROR(ExpectBlockEnd());
    TESSERA_ASSIGN_OR_RETURN(Block body, ParseBlock({"elif", "else", "endif"}));
    s->branches.emplace_back(std::move(condition), std::move(body));
    if (ended_by_ == "elif") continue;
    if (ended_by_ == "else") return ParseBodyUntil("endif", &s->otherwise);
    return ExpectBlockEnd();
  }
}

Status Parser::ParseFor(Stmt* s) {
  s->kind = Stmt::Kind::kFor;
  TESSERA_ASSIGN_OR_RETURN(s->target, ParseTarget(true));
  if (!SkipName("in")) return Unexpected("'in'");
  TESSERA_ASSIGN_OR_RETURN(s->value, ParseTuple(false));
  if (SkipName("if")) {
    TESSERA_ASSIGN_OR_RETURN(s->condition, ParseExpression());
  }
  s->recursive = SkipName("recursive");
  TESSERA_RETURN_IF_ERROR(ExpectBlockEnd());
  TESSERA_ASSIGN_OR_RETURN(s->body, ParseBlock({"else", "endfor"}));
  if (ended_by_ == "else") return ParseBodyUntil("endfor", &s->otherwise);
  return ExpectBlockEnd();
}

Status Parser::ParseSet(Stmt* s) {
  if (Peek().kind == Kind::kName && IsOp(".", 1)) {
    s->target = New(Expr::Kind::kAttribute);
    auto object = New(Expr::Kind::kName, Take().text);
    ++next_;
    TESSERA_ASSIGN_OR_RETURN(s->target->name, ExpectName());
    s->target->children.push_back(std::move(object));
  } else {
    TESSERA_ASSIGN_OR_RETURN(s->target, ParseTarget(true));
  }
  if (SkipOp("=")) {
    s->kind = Stmt::Kind::kSet;
    TESSERA_ASSIGN_OR_RETURN(s->value, ParseTuple());
    return ExpectBlockEnd();
  }
  s->kind = Stmt::Kind::kSetBlock;
  TESSERA_ASSIGN_OR_RETURN(s->value, ParseFilters(New(Expr::Kind::kBody)));
  return ParseBodyUntil("endset", &s->body);
}

Status Parser::ParseParameters(Stmt* s) {
  TESSERA_RETURN_IF_ERROR(ExpectOp("("));
  while (!IsOp(")")) {
    if (!s->parameters.empty()) TESSERA_RETURN_IF_ERROR(ExpectOp(","));
    TESSERA_ASSIGN_OR_RETURN(std::string name, ExpectName());
    ExprPtr fallback;
    if (SkipOp("=")) {
      TESSERA_ASSIGN_OR_RETURN(fallback, ParseExpression());
    } else if (!s->parameters.empty() && s->parameters.back().second) {
      return Fail("non-default argument follows default argument");
    }
    s->parameters.emplace_back(std::move(name), std::move(fallback));
  }
  return ExpectOp(")");
}

Result<ExprPtr> Parser::ParseTarget(bool with_tuple) {
  ExprPtr tuple = New(Expr::Kind::kTuple);
  const bool parenthesised = SkipOp("(");
  for (;;) {
    TESSERA_ASSIGN_OR_RETURN(std::string name, ExpectName());
    for (std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
      if (name == reserved) return Fail(fmt::format("cannot assign to '{}'", name));
    }
    tuple->children.push_back(New(Expr::Kind::kName, std::move(name)));
    if (!with_tuple || !SkipOp(",")) {
      if (tuple->children.size() == 1 && !parenthesised) return std::move(tuple->children[0]);
      break;
    }
    if (IsName("in") || IsOp("=") || IsOp(")")) break;
  }
  if (parenthesised) TESSERA_RETURN_IF_ERROR(ExpectOp(")"));
  return Sealed(std::move(tuple));
}

Result<ExprPtr> Parser::ParseTuple(bool with_condition, bool parenthesised) {
  ExprPtr tuple = New(Expr::Kind::kTuple);
  bool is_tuple = false;
  const auto at_end = [&] {
    const auto kind = Peek().kind;
    return kind == Kind::kPrintEnd || kind == Kind::kBlockEnd || IsOp(")");
  };
  for (;;) {
    if (!tuple->children.empty()) TESSERA_RETURN_IF_ERROR(ExpectOp(","));
    if (at_end()) break;
    TESSERA_ASSIGN_OR_RETURN(ExprPtr item, ParseExpression(with_condition));
    tuple->children.push_back(std::move(item));
    if (!IsOp(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!tuple->children.empty()) return std::move(tuple->children[0]);
    if (!parenthesised) return Unexpected("an expression");
  }
  return Sealed(std::move(tuple));
}

Result<ExprPtr> Parser::ParseExpression(bool with_condition) {
  if (++expr_depth_ > kMaxExprDepth) {
    return ResourceExhausted("template line {}: expression nests deeper than {}", Peek().line,
                             kMaxExprDepth);
  }
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseOr());
  while (with_condition && SkipName("if")) {
    ExprPtr conditional = New(Expr::Kind::kConditional);
    TESSERA_ASSIGN_OR_RETURN(ExprPtr condition, ParseOr());
    ExprPtr otherwise;
    if (SkipName("else")) {
      TESSERA_ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    conditional->children.push_back(std::move(e));
    conditional->children.push_back(std::move(condition));
    conditional->children.push_back(std::move(otherwise));
    TESSERA_ASSIGN_OR_RETURN(e, Sealed(std::move(conditional)));
  }
  --expr_depth_;
  return e;
}

Result<ExprPtr> Parser::ParseOr() {
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseAnd());
  while (SkipName("or")) {
    TESSERA_ASSIGN_OR_RETURN(ExprPtr right, ParseAnd());
    TESSERA_ASSIGN_OR_RETURN(e, Make(Expr::Kind::kOr, "", std::move(e), std::move(right)));
  }
  return e;
}

Result<ExprPtr> Parser::ParseAnd() {
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseNot());
  while (SkipName("and")) {
    TESSERA_ASSIGN_OR_RETURN(ExprPtr right, ParseNot());
    TESSERA_ASSIGN_OR_RETURN(e, Make(Expr::Kind::kAnd, "", std::move(e), std::move(right)));
  }
  return e;
}

Result<ExprPtr> Parser::ParseNot() {
  int negations = 0;
  while (SkipName("not")) ++negations;
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseCompare());
  // An even number of negations still turns the value into a bool.
  negations = negations > 2 ? 2 - negations % 2 : negations;
  for (; negations > 0; --negations) {
    TESSERA_ASSIGN_OR_RETURN(e, Make(Expr::Kind::kNot, "", std::move(e)));
  }
  return e;
}

Result<ExprPtr> Parser::ParseCompare() {
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseSum());
  ExprPtr compare;
  for (;;) {
    std::string op;
    for (std::string_view candidate : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (SkipOp(candidate)) {
        op = candidate;
        break;
      }
    }
    if (op.empty() && SkipName("in")) op = "in";
    if (op.empty() && IsName("not") && IsName("in", 1)) next_ += 2, op = "not in";
    if (op.empty()) break;
    if (!compare) {
      compare = New(Expr::Kind::kCompare);
      compare->children.push_back(std::move(e));
    }
    TESSERA_ASSIGN_OR_RETURN(ExprPtr right, ParseSum());
    compare->operators.push_back(std::move(op));
    compare->children.push_back(std::move(right));
  }
  if (compare) return Sealed(std::move(compare));
  return e;
}

Result<ExprPtr> Parser::ParseSum() {
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseConcat());
  while (IsOp("+") || IsOp("-")) {
    std::string op = Take().text;
    TESSERA_ASSIGN_OR_RETURN(ExprPtr right, ParseConcat());
    TESSERA_ASSIGN_OR_RETURN(
        e, Make(Expr::Kind::kBinary, std::move(op), std::move(e), std::move(right)));
  }
  return e;
}

Result<ExprPtr> Parser::ParseConcat() {
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseProduct());
  if (!IsOp("~")) return e;
  ExprPtr concat = New(Expr::Kind::kConcat);
  concat->children.push_back(std::move(e));
  while (SkipOp("~")) {
    TESSERA_ASSIGN_OR_RETURN(ExprPtr right, ParseProduct());
    concat->children.push_back(std::move(right));
  }
  return Sealed(std::move(concat));
}

Result<ExprPtr> Parser::ParseProduct() {
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParsePower());
  while (IsOp("*") || IsOp("/") || IsOp("//") || IsOp("%")) {
    std::string op = Take().text;
    TESSERA_ASSIGN_OR_RETURN(ExprPtr right, ParsePower());
    TESSERA_ASSIGN_OR_RETURN(
        e, Make(Expr::Kind::kBinary, std::move(op), std::move(e), std::move(right)));
  }
  return e;
}

Result<ExprPtr> Parser::ParsePower() {
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParseUnary());
  while (SkipOp("**")) {
    TESSERA_ASSIGN_OR_RETURN(ExprPtr right, ParseUnary());
    TESSERA_ASSIGN_OR_RETURN(e, Make(Expr::Kind::kBinary, "**", std::move(e), std::move(right)));
  }
  return e;
}

Result<ExprPtr> Parser::ParseUnary(bool with_filter) {
  std::vector<Expr::Kind> signs;
  while (IsOp("-") || IsOp("+")) {
    signs.push_back(Take().text == "-" ? Expr::Kind::kNegate : Expr::Kind::kPlus);
    if (signs.size() > kMaxExprDepth) return Fail("too many signs");
  }
  TESSERA_ASSIGN_OR_RETURN(ExprPtr e, ParsePrimary());
  TESSERA_ASSIGN_OR_RETURN(e, ParsePostfix(std::move(e)));
  // As in Jinja, a filter after a signed operand applies to the signed value.
  for (; !signs.empty(); signs.pop_back()) {
    TESSERA_ASSIGN_OR_RETURN(e, Make(signs.back(), "", std::move(e)));
  }
  if (with_filter) return ParseFilters(std::move(e));
  return e;
}

Result<ExprPtr> Parser::ParsePrimary() {
  const Token& token = Peek();
  ExprPtr e = New(Expr::Kind::kConst);
  switch (token.kind) {
    case Kind::kName: {
      const std::string name = Take().text;
      if (name == "true" || name == "True") {
        e->constant = Value::Bool(true);
      } else if (name == "false" || name == "False") {
        e->constant = Value::Bool(false);
      } else if (name != "none" && name != "None") {
        uses_varargs_ |= name == "varargs";
        uses_kwargs_ |= name == "kwargs";
        uses_caller_ |= name == "caller";
        e->kind = Expr::Kind::kName;
        e->name = name;
      }
      return e;
    }
    case Kind::kString: {
      std::string text;
      while (Peek().kind == Kind::kString) text += Take().text;
      e->constant = Value::Str(std::move(text));
      return e;
    }
    case Kind::kInt: e->constant = Value::Int(Take().integer); return e;
    case Kind::kFloat: e->constant = Value::Float(Take().number); return e;
    default: break;
  }
  if (SkipOp("(")) {
    TESSERA_ASSIGN_OR_RETURN(e, ParseTuple(true, true));
    TESSERA_RETURN_IF_ERROR(ExpectOp(")"));
    return e;
  }
  if (SkipOp("[")) {
    e->kind = Expr::Kind::kList;
    while (!IsOp("]")) {
      if (!e->children.empty()) TESSERA_RETURN_IF_ERROR(ExpectOp(","));
      if (IsOp("]")) break;
      TESSERA_ASSIGN_OR_RETURN(ExprPtr item, ParseExpression());
      e->children.push_back(std::move(item));
    }
    ++next_;
    return Sealed(std::move(e));
  }
  if (SkipOp("{")) {
    e->kind = Expr::Kind::kDict;
    while (!IsOp("}")) {
      if (!e->children.empty()) TESSERA_RETURN_IF_ERROR(ExpectOp(","));
      if (IsOp("}")) break;
      TESSERA_ASSIGN_OR_RETURN(ExprPtr key, ParseExpression());
      TESSERA_RETURN_IF_ERROR(ExpectOp(":"));
      TESSERA_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
      e->children.push_back(std::move(key));
      e->children.push_back(std::move(value));
    }
    ++next_;
    return Sealed(std::move(e));
  }
  return Unexpected("an expression");
}

Result<ExprPtr> Parser::ParsePostfix(ExprPtr e) {
  for (;;) {
    if (SkipOp(".")) {
      if (Peek().kind == Kind::kInt) {
        ExprPtr index = New(Expr::Kind::kConst);
        index->constant = Value::Int(Take().integer);
        TESSERA_ASSIGN_OR_RETURN(e, Make(Expr::Kind::kItem, "", std::move(e), std::move(index)));
        continue;
      }
      TESSERA_ASSIGN_OR_RETURN(std::string name, ExpectName());
      TESSERA_ASSIGN_OR_RETURN(e, Make(Expr::Kind::kAttribute, std::move(name), std::move(e)));
    } else if (SkipOp("[")) {
      TESSERA_ASSIGN_OR_RETURN(e, ParseSubscript(std::move(e)));
    } else if (IsOp("(")) {
      ExprPtr call = New(Expr::Kind::kCall);
      call->children.push_back(std::move(e));
      TESSERA_RETURN_IF_ERROR(ParseArguments(call.get()));
      TESSERA_ASSIGN_OR_RETURN(e, Sealed(std::move(call)));
    } else {
      return e;
    }
  }
}

Result<ExprPtr> Parser::ParseSubscript(ExprPtr e) {
  ExprPtr parts[3];
  bool slice = false;
  size_t part = 0;
  while (!IsOp("]")) {
    if (SkipOp(":")) {
      slice = true;
      if (++part > 2) return Fail("a slice has at most three parts");
      continue;
    }
    if (parts[part]) return Unexpected("']'");
    TESSERA_ASSIGN_OR_RETURN(parts[part], ParseExpression());
  }
  ++next_;
  if (!slice) {
    if (!parts[0]) return Fail("expected a subscript");
    return Make(Expr::Kind::kItem, "", std::move(e), std::move(parts[0]));
  }
  ExprPtr out = New(Expr::Kind::kSlice);
  out->children.push_back(std::move(e));
  for (auto& p : parts) out->children.push_back(std::move(p));
  return Sealed(std::move(out));
}

Status Parser::ParseArguments(Expr* call) {
  TESSERA_RETURN_IF_ERROR(ExpectOp("("));
  bool first = true;
  while (!IsOp(")")) {
    if (!first) {
      TESSERA_RETURN_IF_ERROR(ExpectOp(","));
      if (IsOp(")")) break;
    }
    first = false;
    if (SkipOp("*")) {
      TESSERA_ASSIGN_OR_RETURN(call->star, ParseExpression());
    } else if (SkipOp("**")) {
      TESSERA_ASSIGN_OR_RETURN(call->double_star, ParseExpression());
    } else if (Peek().kind == Kind::kName && IsOp("=", 1)) {
      std::string name = Take().text;
      ++next_;
      TESSERA_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
      call->keywords.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call->keywords.empty() || call->double_star) {
        return Fail("positional argument after a keyword argument");
      }
      TESSERA_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
      call->children.push_back(std::move(value));
    }
  }
  ++next_;
  return OkStatus();
}

Result<ExprPtr> Parser::ParseFilters(ExprPtr e, bool start_inline) {
  for (;;) {
    if (start_inline || SkipOp("|")) {
      start_inline = false;
      ExprPtr filter = New(Expr::Kind::kFilter);
      TESSERA_ASSIGN_OR_RETURN(filter->name, ExpectName());
      while (SkipOp(".")) {
        TESSERA_ASSIGN_OR_RETURN(const std::string more, ExpectName());
        filter->name += "." + more;
      }
      filter->children.push_back(std::move(e));
      if (IsOp("(")) TESSERA_RETURN_IF_ERROR(ParseArguments(filter.get()));
      TESSERA_ASSIGN_OR_RETURN(e, Sealed(std::move(filter)));
    } else if (SkipName("is")) {
      TESSERA_ASSIGN_OR_RETURN(e, ParseTest(std::move(e)));
    } else if (IsOp("(")) {
      ExprPtr call = New(Expr::Kind::kCall);
      call->children.push_back(std::move(e));
      TESSERA_RETURN_IF_ERROR(ParseArguments(call.get()));
      TESSERA_ASSIGN_OR_RETURN(e, Sealed(std::move(call)));
    } else {
      return e;
    }
  }
}

Result<ExprPtr> Parser::ParseTest(ExprPtr e) {
  const bool negated = SkipName("not");
  ExprPtr test = New(Expr::Kind::kTest);
  TESSERA_ASSIGN_OR_RETURN(test->name, ExpectName());
  while (SkipOp(".")) {
    TESSERA_ASSIGN_OR_RETURN(const std::string more, ExpectName());
    test->name += "." + more;
  }
  test->children.push_back(std::move(e));
  const auto kind = Peek().kind;
  if (IsOp("(")) {
    TESSERA_RETURN_IF_ERROR(ParseArguments(test.get()));
  } else if ((kind == Kind::kName || kind == Kind::kString || kind == Kind::kInt ||
              kind == Kind::kFloat || IsOp("[") || IsOp("{")) &&
             !IsName("else") && !IsName("or") && !IsName("and")) {
    if (IsName("is")) return Fail("You cannot chain multiple tests with is");
    // An operand may also follow `in` the surrounding statement: only names Jinja would take here.
    TESSERA_ASSIGN_OR_RETURN(ExprPtr argument, ParsePrimary());
    TESSERA_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test->children.push_back(std::move(argument));
  }
  TESSERA_ASSIGN_OR_RETURN(e, Sealed(std::move(test)));
  if (negated) return Make(Expr::Kind::kNot, "", std::move(e));
  return e;
}

}  // namespace

Result<Block> ParseTemplate(std::string_view source) {
  TESSERA_ASSIGN_OR_RETURN(auto tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace tessera::text::jinja
