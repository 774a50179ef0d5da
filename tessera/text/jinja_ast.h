// The syntax tree of a template and the parser that makes it.
//
// Depth is bounded while parsing, so that walking and destroying a tree cannot exhaust the stack.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/text/jinja_value.h"

namespace tessera::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kConst,
    kName,
    kList,
    kTuple,
    kDict,
    kConditional,
    kOr,
    kAnd,
    kNot,
    kCompare,
    kBinary,
    kNegate,
    kPlus,
    kConcat,
    kAttribute,
    kItem,
    kSlice,
    kCall,
    kFilter,
    kTest,
    kBody
  };
  Kind kind = Kind::kConst;
  int line = 0;
  int depth = 1;
  std::string name;  // of a name, attribute, filter, test or binary operator
  Value constant;
  // Operands, in the order of the source. kItem: object, index. kSlice: object, start, stop, step
  // (null where absent). kConditional: value, condition, other (may be null). kDict: key, value,
  // ... kCall, kFilter and kTest: callee or operand, then positional arguments.
  std::vector<ExprPtr> children;
  std::vector<std::string> operators;                     // kCompare
  std::vector<std::pair<std::string, ExprPtr>> keywords;  // kCall, kFilter, kTest
  ExprPtr star, double_star;                              // *args, **kwargs
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

struct Stmt {
  enum class Kind {
    kText,
    kPrint,
    kIf,
    kFor,
    kSet,
    kSetBlock,
    kMacro,
    kCallBlock,
    kFilterBlock,
    kWith,
    kScope,
    kBreak,
    kContinue
  };
  Kind kind = Kind::kText;
  int line = 0;
  std::string text;   // kText; the name of a macro
  ExprPtr target;     // kFor, kSet: names, tuples of names, or namespace attributes
  ExprPtr value;      // kPrint, kFor, kSet, kFilterBlock, kCallBlock; filters of kSetBlock
  ExprPtr condition;  // of a for
  bool recursive = false;
  Block body, otherwise;
  std::vector<std::pair<ExprPtr, Block>> branches;          // kIf
  std::vector<std::pair<std::string, ExprPtr>> parameters;  // macro and call: default may be null
  std::vector<std::pair<ExprPtr, ExprPtr>> bindings;        // kWith
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

Result<Block> ParseTemplate(std::string_view source);

}  // namespace tessera::text::jinja
